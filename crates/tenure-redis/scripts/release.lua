-- Ends a tenure whose work has stopped, and keeps the election for a named candidate a while.
-- KEYS: lease, next; ARGV: token, process, session, successor or '', for how many ms, channel
-- Gives whether it was held.
local head = ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' '
if redis.call('GETRANGE', KEYS[1], 0, #head - 1) ~= head then return 0 end
-- A full server can still let go; then anybody may be next.
if ARGV[4] ~= '' then redis.pcall('SET', KEYS[2], ARGV[4], 'PX', ARGV[5]) end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[6], '')
return 1
