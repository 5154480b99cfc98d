-- A write to Redis under a fencing token, for applications: refused when a later leader was
-- elected. The election's record holds the highest token, raised before its leader was told.
-- KEYS: record of the election, key to write; ARGV: token, value. Gives the highest token when
-- the write is refused, 0 when it is done.
local mark = tonumber(redis.call('HGET', KEYS[1], 'token')) or 0
local token = tonumber(ARGV[1])
if token < mark then return mark end
if token > mark then redis.call('HSET', KEYS[1], 'token', ARGV[1]) end
redis.call('SET', KEYS[2], ARGV[2])
return 0
