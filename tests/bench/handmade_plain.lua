-- As one writes it first: with the library for Redis that nginx's Lua has (lua-resty-redis, Debian's lua-nginx-redis),
-- over TCP as its documentation connects, a counter for the window and a script for the money.

local found, redis = pcall(require, "nginx.redis") -- Debian's name of it
if not found then redis = require("resty.redis") end

local M = {}

local TAKE = [[
local left = tonumber(redis.call('GET', KEYS[1]) or 0)
if left < tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
]]

function M.debit(settings)
    local sha = ngx.sha1_bin(TAKE):gsub(".", function(byte) return string.format("%02x", byte:byte()) end)

    local function ask(connection, balance, window)
        local used, why = connection:incr(window)
        if not used then return nil, why end
        if used == 1 then connection:expire(window, settings.window_seconds) end
        if used > settings.limit then return -2 end
        local left, failed = connection:evalsha(sha, 1, balance, settings.price_micros)
        if failed and failed:find("^NOSCRIPT") then return connection:eval(TAKE, 1, balance, settings.price_micros) end
        return left, failed
    end

    return function(balance, window)
        local connection = redis:new()
        connection:set_timeouts(1000, 1000, 1000)
        local connected, failed = connection:connect("127.0.0.1", settings.port)
        if not connected then return nil, failed end
        local left, why = ask(connection, balance, window)
        if left then connection:set_keepalive(60000, 256) else connection:close() end
        return left, why
    end
end

return M
