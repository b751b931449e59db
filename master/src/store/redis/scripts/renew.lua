-- Holds the lead for longer. While nobody else has taken it, the epoch is still the highest, so that a
-- lease that ended unnoticed may be renewed as well.
--
-- KEYS[1]  the cluster's `leader` key
-- KEYS[2]  the cluster's `epoch` key
-- ARGV[1]  the master, as JSON
-- ARGV[2]  its epoch
-- ARGV[3]  the lease in milliseconds; 0 lets the lead go
--
-- Answers 1, or 0 when the lead is lost.
if tonumber(redis.call('GET', KEYS[2]) or '0') ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
end
return 1
