-- A fence in Redis, by Tenure: runs a command if its token is the newest.
--
--   EVAL script 2 MARK KEY TOKEN SET KEY value
--
-- KEYS[1] is the mark of the resource, the other keys are those of the command. ARGV[1] is the
-- leader's token, what follows is the command; without one only the mark is raised: do that as
-- soon as you are elected, and nothing of a former leader comes through from then on.
-- A token that is not the newest is answered with an error that begins with FENCED.
--
-- A mark is a hash with a field `token`. The record of an election that is held in this very
-- server, {tenure}:record:NAME, is one already, and rises in the step that elects: give it as the
-- mark, and a former leader is shut out before the new one has presented anything.
--
-- In a cluster, give mark and keys one hash tag: {billing}:fence, {billing}:account.
-- The mark is as durable as this server: with appendfsync always, and without a failover that
-- loses writes, it never goes back.

local presented = ARGV[1]
if not presented or not string.match(presented, '^[1-9]%d*$') then
    return redis.error_reply('NOTOKEN a token is needed, for example 42')
end

-- As text: numbers in Lua are exact only up to 2^53.
local function lower(a, b)
    if #a ~= #b then
        return #a < #b
    end
    return a < b
end

local newest = redis.call('HGET', KEYS[1], 'token')
if newest and lower(presented, newest) then
    return redis.error_reply('FENCED token ' .. presented .. ' is stale: ' .. newest
        .. ' was presented since, so another one leads')
end
if newest ~= presented then
    -- An election counts on from its record, in numbers that Lua holds exactly.
    if lower('9007199254740992', presented) and redis.call('HEXISTS', KEYS[1], 'ttl') == 1 then
        return redis.error_reply('NOTOKEN no election here gives a token like ' .. presented)
    end
    redis.call('HSET', KEYS[1], 'token', presented)
end
if #ARGV == 1 then
    return presented
end
return redis.call(unpack(ARGV, 2))
