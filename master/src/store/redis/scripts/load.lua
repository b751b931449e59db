-- Reads a page of the records that changed after a batch, in the order of their batches.
--
-- A record that changes between two pages moves behind them, so pages read until one is the last
-- together give the state as of that last one.
--
-- KEYS[1]  the cluster's `seq` key
-- ARGV[1]  what every key begins with
-- ARGV[2]  the batch
-- ARGV[3]  about how many records
--
-- Answers {last number, epoch, the batch that the next page begins after or false, names, values}.
local p, limit = ARGV[1], tonumber(ARGV[3])
local page = redis.call('ZRANGEBYSCORE', p .. 'changed', '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
local names, following = {}, false
for i = 1, #page, 2 do names[#names + 1] = page[i] end
if #names == limit then
  -- The page ends within a batch, perhaps: take the rest of that batch as well.
  following = page[#page]
  local last = tonumber(following)
  local have = 0
  for i = 2, #page, 2 do
    if tonumber(page[i]) == last then have = have + 1 end
  end
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', p .. 'changed', last, last, 'LIMIT', have, 100000000)) do
    names[#names + 1] = name
  end
end
-- One call for many records, as many as `unpack` can take.
local values = {}
local function read(places, keys, ...)
  for first = 1, #keys, 1000 do
    local last = math.min(first + 999, #keys)
    local arguments = {...}
    for i = first, last do arguments[#arguments + 1] = keys[i] end
    local got = redis.call(unpack(arguments))
    for i = first, last do values[places[i]] = got[i - first + 1] end
  end
end
local record_places, records, key_places, keys = {}, {}, {}, {}
for i, name in ipairs(names) do
  if string.sub(name, 1, 4) == 'key:' then
    key_places[#key_places + 1], keys[#keys + 1] = i, string.sub(name, 5)
  else
    record_places[#record_places + 1], records[#records + 1] = i, p .. name
  end
end
read(record_places, records, 'MGET')
read(key_places, keys, 'HMGET', p .. 'keys')
return {
  redis.call('GET', KEYS[1]) or '0',
  redis.call('GET', p .. 'epoch') or '0',
  following,
  names,
  values,
}
