-- Extends the holds of one session.
-- KEYS: witness, then the leases; ARGV: server, process, session, ttl in ms, then their tokens.
-- Gives {'moved', server} or {'renewed', places of those that are not held}.
local name = server()
if name ~= ARGV[1] then return { 'moved', name } end
local owner = ' ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' '
local answer = { 'renewed' }
for at = 2, #KEYS do
  local head = ARGV[at + 3] .. owner
  if redis.call('GETRANGE', KEYS[at], 0, #head - 1) == head then
    redis.call('PEXPIRE', KEYS[at], ARGV[4])
  else
    answer[#answer + 1] = at - 2
  end
end
return answer
