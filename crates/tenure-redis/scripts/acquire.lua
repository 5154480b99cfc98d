-- Contends for one election.
-- KEYS: witness, lease, record, next
-- ARGV: server, process, session, candidate, value, ttl in ms, floor of the token, channel
-- Gives {'moved', server}, {'quiet', ms}, or {'stands', now, token, lease, again in ms}.
local witness, lease_key, record_key, next_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local process, session, candidate = ARGV[2], ARGV[3], ARGV[4]
local ttl = tonumber(ARGV[6])

local name = server()
if name ~= ARGV[1] then return { 'moved', name } end

local now = micros()
local record = redis.call('HMGET', record_key, 'token', 'ttl')
local last = tonumber(record[1])
local wait = quiet(witness, name, math.max(ttl, tonumber(record[2]) or 0), now)

local lease = redis.call('GET', lease_key)
if lease then
  local token, holder, its = string.match(lease, '^(%d+) (%d+) (%d+) ')
  last = math.max(last or 0, tonumber(token))
  -- Nothing runs under an older session of a process that contends under a later one.
  if holder == process and tonumber(its) <= tonumber(session) then
    -- What a former start of the server knew of it may be out of date.
    if wait > 0 then return { 'quiet', wait } end
    if its == session then
      redis.call('PEXPIRE', lease_key, ttl)
      return { 'stands', now, last, lease, ttl }
    end
  else
    local left = redis.call('PTTL', lease_key) + 1
    return { 'stands', now, last, lease, math.max(left, wait) }
  end
else
  if wait > 0 then return { 'stands', now, last or false, false, wait } end
  local reserved = redis.call('GET', next_key)
  if reserved and reserved ~= candidate then
    return { 'stands', now, last or false, false, redis.call('PTTL', next_key) + 1 }
  end
end

-- The token, and with it the mark that shuts out every lower one, rise before anybody is told.
local token = math.max((last or 0) + 1, tonumber(ARGV[7]) + 1, now)
local text = string.format('%.0f', token)
lease = table.concat({ text, process, session, ttl, string.format('%.0f', now), candidate }, ' ')
lease = lease .. '\n' .. ARGV[5]
redis.call('HSET', record_key, 'token', text, 'ttl', ttl)
redis.call('SET', lease_key, lease, 'PX', ttl)
redis.call('DEL', next_key)
redis.call('PUBLISH', ARGV[8], '')
return { 'stands', now, token, lease, ttl }
