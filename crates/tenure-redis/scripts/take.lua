-- Takes a slot, unless the same or a later one is recorded.
-- KEYS: slot; ARGV: token, slot
-- Gives what is recorded then: `token slot`.
-- Byte by byte: the order of Lua's own comparison is that of the server's language.
local function is_later(a, b)
  for at = 1, math.max(#a, #b) do
    local one, other = a:byte(at) or -1, b:byte(at) or -1
    if one ~= other then return one > other end
  end
  return false
end
local before = redis.call('GET', KEYS[1])
if before then
  local name = string.sub(before, string.find(before, ' ', 1, true) + 1)
  if not is_later(ARGV[2], name) then return before end
end
local taken = ARGV[1] .. ' ' .. ARGV[2]
redis.call('SET', KEYS[1], taken)
return taken
