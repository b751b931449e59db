-- Writes one batch. Every check comes before the first write, and the batch's number after the last one: Redis keeps
-- what a script wrote before it failed, and such a batch must not be taken for done. Every operation may be repeated.
--
-- KEYS[1]  the cluster's `seq` key; every other key has the same hash tag
-- ARGV[1]  what every key begins with
-- ARGV[2]  the batch's epoch
-- ARGV[3]  the batch's number
-- ARGV[4]  the batch's digest
-- ARGV[5]  how long keys and marks are kept, in milliseconds
-- ARGV[6]  how many lines each list of the audit log keeps
-- ARGV[7]  how many removed records followers are told of
-- ARGV[8…] operations, each a letter and its operands
--
-- Answers {'ok'}, {'fenced', epoch} or {'sequence', last number}.
local p = ARGV[1]
local epoch, seq, digest = ARGV[2], tonumber(ARGV[3]), ARGV[4]

local held = redis.call('GET', p .. 'epoch') or '0'
if tonumber(held) ~= tonumber(epoch) then return { 'fenced', held } end
local at = tonumber(redis.call('GET', KEYS[1]) or '0')
if at == seq then
  local last = redis.call('HMGET', p .. 'batch', 'epoch', 'digest')
  if last[1] == epoch and last[2] == digest then return { 'ok' } end
end
if at + 1 ~= seq then return { 'sequence', tostring(at) } end

-- A Redis without memory refuses this command, and would not check those that follow a first write.
redis.call('HSET', p .. 'batch', 'begun', ARGV[3])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local touched, audit = {}, { ['audit'] = {}, ['audit:users'] = {} }

local function changed(name)
  redis.call('ZADD', p .. 'changed', seq, name)
  redis.call('ZREM', p .. 'dropped', name)
end

local function put(name, value)
  redis.call('SET', p .. name, value)
  changed(name)
end

local function unlist(id, user)
  redis.call('ZREM', p .. 'queue:user:' .. user, id)
  redis.call('ZREM', p .. 'running', id)
  redis.call('ZREM', p .. 'history', id)
  touched[user] = true
end

local lists = { q = 'queue:user:', r = 'running', h = 'history' }

local i = 8
local function take()
  i = i + 1
  return ARGV[i - 1]
end

while i <= #ARGV do
  local op = take()
  if op == 'J' then -- a job: id, user, list, score, record
    local id, user, list, score, record = take(), take(), take(), take(), take()
    unlist(id, user)
    local key = p .. lists[list]
    if list == 'q' then key = key .. user end
    redis.call('ZADD', key, score, id)
    put('job:' .. id, record)
  elseif op == 'U' then -- a user: name, rank, record
    local name, rank, record = take(), take(), take()
    redis.call('ZADD', p .. 'ranks', rank, name)
    touched[name] = true
    put('user:' .. name, record)
  elseif op == 'P' then -- any other record: name, value
    local name = take()
    put(name, take())
  elseif op == 'K' then -- an idempotency key: key, job
    local key, job = take(), take()
    redis.call('HSET', p .. 'keys', key, job)
    redis.call('ZADD', p .. 'keys:age', now, key)
    changed('key:' .. key)
  elseif op == 'D' then -- a record is removed: name
    local name = take()
    local id = string.match(name, '^job:(.*)$')
    if id then
      local record = redis.call('GET', p .. name)
      if record then unlist(id, cjson.decode(record).value.user) end
    end
    redis.call('DEL', p .. name)
    redis.call('ZADD', p .. 'changed', seq, name)
    redis.call('ZADD', p .. 'dropped', seq, name)
  elseif op == 'I' then -- a mark of the watched folder: key, job
    local key, job = take(), take()
    redis.call('HSET', p .. 'ingested', key, job)
    redis.call('ZADD', p .. 'ingested:age', now, key)
  elseif op == 'L' then -- a line of the audit log
    table.insert(audit['audit'], take())
  elseif op == 'M' then -- a line of the audit log, of a user
    table.insert(audit['audit:users'], take())
  else
    -- Only a defect can lead here; the caller must not believe that the batch is written.
    return redis.error_reply('ERR dopq: unknown operation ' .. tostring(op))
  end
end

for user in pairs(touched) do
  if redis.call('EXISTS', p .. 'queue:user:' .. user) == 1 then
    redis.call('ZADD', p .. 'queue:users', redis.call('ZSCORE', p .. 'ranks', user) or '-inf', user)
  else
    redis.call('ZREM', p .. 'queue:users', user)
  end
end

-- A bounded number at a time, so that no single commit pays for a month.
local old = now - tonumber(ARGV[5])
for _, key in ipairs(redis.call('ZRANGEBYSCORE', p .. 'keys:age', '-inf', old, 'LIMIT', 0, 100)) do
  redis.call('HDEL', p .. 'keys', key)
  redis.call('ZREM', p .. 'keys:age', key)
  redis.call('ZREM', p .. 'changed', 'key:' .. key)
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', p .. 'ingested:age', '-inf', old, 'LIMIT', 0, 100)) do
  redis.call('HDEL', p .. 'ingested', key)
  redis.call('ZREM', p .. 'ingested:age', key)
end
local excess = redis.call('ZCARD', p .. 'dropped') - tonumber(ARGV[7])
if excess > 0 then
  local oldest = redis.call('ZRANGE', p .. 'dropped', 0, excess - 1, 'WITHSCORES')
  redis.call('SET', p .. 'floor', oldest[#oldest])
  for j = 1, #oldest, 2 do
    redis.call('ZREM', p .. 'changed', oldest[j])
    redis.call('ZREM', p .. 'dropped', oldest[j])
  end
end

-- Lines of the audit log are the one thing that a repeated batch would write twice.
for list, lines in pairs(audit) do
  for _, line in ipairs(lines) do redis.call('RPUSH', p .. list, line) end
  if #lines > 0 then redis.call('LTRIM', p .. list, '-' .. ARGV[6], -1) end
end
redis.call('HSET', p .. 'batch', 'epoch', epoch, 'digest', digest)
redis.call('SET', KEYS[1], ARGV[3])
return { 'ok' }
