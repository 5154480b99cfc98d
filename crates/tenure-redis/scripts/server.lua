-- Shared by the scripts that grant: put in front of them when they are loaded.

-- Redis 5 and 6 replicate what a script does, not the script, only when asked to.
if redis.replicate_commands then redis.replicate_commands() end

-- Names this start of this server as a primary. A restart changes the run id; a promotion, of
-- whatever server, changes the replication id.
local function server()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  return run .. '-' .. (history or '')
end

-- The server's wall clock in microseconds.
local function micros()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- For how many milliseconds nobody may be elected yet. Another start of the server, or the same
-- one before it was flushed, may have granted a lease whose record is lost; whoever got it may
-- believe in it for one ttl. The wait is counted from the moment at which this start was first
-- seen by anybody. A clock that was set back starts it again.
local function quiet(witness, name, ttl, now)
  local known = redis.call('HMGET', witness, 'server', 'since')
  local since = tonumber(known[2])
  if known[1] ~= name or not since or since > now then
    redis.call('HSET', witness, 'server', name, 'since', string.format('%.0f', now))
    since = now
  end
  return math.ceil(math.max(0, since / 1000 + ttl - now / 1000))
end
