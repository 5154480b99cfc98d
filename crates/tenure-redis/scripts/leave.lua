-- Ends whatever a session may hold of these elections: an answer may have been lost.
-- KEYS: leases; ARGV: process, session, then one channel for each lease
for at = 1, #KEYS do
  local owner = string.match(redis.call('GETRANGE', KEYS[at], 0, 80), '^%d+ (%d+ %d+) ')
  if owner == ARGV[1] .. ' ' .. ARGV[2] then
    redis.call('DEL', KEYS[at])
    redis.call('PUBLISH', ARGV[at + 2], '')
  end
end
return 1
