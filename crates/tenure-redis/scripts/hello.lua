-- Says which start of the server this is, and notes that it was seen.
-- KEYS: witness. Gives: name, and why it could not be noted, if so.
local name = server()
-- A server that is full or read-only says so here; whoever holds must be able to renew.
local noted, why = pcall(quiet, KEYS[1], name, 0, micros())
if noted then return { name } end
if type(why) == 'table' then why = why.err end
return { name, tostring(why) }
