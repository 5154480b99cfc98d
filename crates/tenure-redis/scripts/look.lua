-- How elections stand. KEYS: lease, record, lease, record, ...
-- Gives the clock, then for each election: token, lease, again in ms (-1: nothing to wait for).
local time = redis.call('TIME')
local answer = { tonumber(time[1]) * 1000000 + tonumber(time[2]) }
for at = 1, #KEYS, 2 do
  local lease = redis.call('GET', KEYS[at])
  local token = tonumber(redis.call('HGET', KEYS[at + 1], 'token'))
  local again = -1
  if lease then
    again = redis.call('PTTL', KEYS[at]) + 1
    token = math.max(token or 0, tonumber(string.match(lease, '^(%d+)')))
  end
  answer[#answer + 1] = { token or false, lease, again }
end
return answer
