-- As somebody writes it who counts microseconds: window and money in one script and so one round trip, over a Unix
-- socket, with the commands put together beforehand and no library between.

local M = {}

local SCRIPT = [[
local used = redis.call('INCR', KEYS[2])
if used == 1 then redis.call('EXPIRE', KEYS[2], ARGV[3]) end
if used > tonumber(ARGV[2]) then return -2 end
local left = tonumber(redis.call('GET', KEYS[1]) or 0)
if left < tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
]]

local function bulk(text)
    text = tostring(text)
    return "$" .. #text .. "\r\n" .. text .. "\r\n"
end

local function hex(bytes)
    return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

local function ask(socket, script, keys, price_limit_seconds)
    local sent, failed = socket:send({ script, keys, price_limit_seconds })
    if not sent then return nil, failed end
    local line, why = socket:receive()
    if not line then return nil, why end
    if line:byte(1) == 58 then return tonumber(line:sub(2)) end -- ":"
    return nil, line
end

function M.debit(settings)
    local by_hash = "*8\r\n" .. bulk("EVALSHA") .. bulk(hex(ngx.sha1_bin(SCRIPT))) .. bulk(2)
    local by_text = "*8\r\n" .. bulk("EVAL") .. bulk(SCRIPT) .. bulk(2)
    local rest = bulk(settings.price_micros) .. bulk(settings.limit) .. bulk(settings.window_seconds)

    return function(balance, window)
        local socket = ngx.socket.tcp()
        socket:settimeouts(1000, 1000, 1000)
        local connected, failed = socket:connect(settings.redis)
        if not connected then return nil, failed end
        local keys = bulk(balance) .. bulk(window)
        local left, why = ask(socket, by_hash, keys, rest)
        if not left and why:find("^-NOSCRIPT") then left, why = ask(socket, by_text, keys, rest) end
        if left then socket:setkeepalive(60000, 256) else socket:close() end
        return left, why
    end
end

return M
