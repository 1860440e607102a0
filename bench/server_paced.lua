-- wrk: as server_short.lua, with a pause of 0 to 8 ms before each request: some 15,000 a second
-- from 64 connections, about half of what one core can do.
dofile("bench/server_short.lua")
function delay() return math.random(0, 7) end
