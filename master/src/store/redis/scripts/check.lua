-- Tries every command that the other scripts use, on keys of its own, and removes them.
--
-- KEYS[1]  a key of the cluster; the others have the same hash tag
-- ARGV[1]  what every key begins with
--
-- Answers the commands that this account may not use.
local p = ARGV[1] .. 'check:'
local refused = {}
-- How Redis words it in a script: as to a client, from 7.2 on, and up to 7.0.
local words = { 'NOPERM', 'permission', 'The user executing the script' }
local function try(...)
  local answer = redis.pcall(...)
  local error = type(answer) == 'table' and answer.err or ''
  for _, word in ipairs(words) do
    if string.find(error, word, 1, true) then
      refused[#refused + 1] = (...)
      return
    end
  end
end
try('TIME')
try('SET', p .. 'text', '1')
try('GET', p .. 'text')
try('MGET', p .. 'text')
try('INCR', p .. 'text')
try('EXISTS', p .. 'text')
try('HSET', p .. 'hash', 'field', '1')
try('HGET', p .. 'hash', 'field')
try('HMGET', p .. 'hash', 'field')
try('HDEL', p .. 'hash', 'field')
try('ZADD', p .. 'sorted', 1, 'name')
try('ZSCORE', p .. 'sorted', 'name')
try('ZCARD', p .. 'sorted')
try('ZRANGE', p .. 'sorted', 0, 0, 'WITHSCORES')
try('ZRANGEBYSCORE', p .. 'sorted', '-inf', 1, 'LIMIT', 0, 1)
try('ZREM', p .. 'sorted', 'name')
try('RPUSH', p .. 'list', 'line')
try('LRANGE', p .. 'list', -1, -1)
try('LTRIM', p .. 'list', -1, -1)
try('DEL', p .. 'text', p .. 'hash', p .. 'sorted', p .. 'list')
return refused
