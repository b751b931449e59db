-- Takes the lead when nobody else holds it, and gives it a new epoch.
--
-- KEYS[1]  the cluster's `leader` key, which ends by itself
-- KEYS[2]  the cluster's `epoch` key
-- ARGV[1]  the master's id
-- ARGV[2]  the master, as JSON with its `id`
-- ARGV[3]  the lease in milliseconds
-- ARGV[4]  the highest epoch that the master has seen, which this Redis may have lost
--
-- Answers the epoch, or 0 when another holds the lead.
local leader = redis.call('GET', KEYS[1])
if leader and cjson.decode(leader).id ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[4]) then
  redis.call('SET', KEYS[2], ARGV[4])
end
return redis.call('INCR', KEYS[2])
