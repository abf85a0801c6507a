-- Pay-per-use as one writes it by hand for nginx: the token's keyed hash names an account in Redis, and one script there
-- counts the window and takes the price, both or neither. What it does not do, and the gateway does: keep a record of each
-- debit, give the money back when the upstream fails, and lose nothing in a crash (Redis writes to its disk once a second).

local M = {}

-- -2: too many in this window; -1: too little money; else what is left.
local SCRIPT = [[
local used = redis.call('INCR', KEYS[2])
if used == 1 then redis.call('EXPIRE', KEYS[2], ARGV[3]) end
if used > tonumber(ARGV[2]) then return -2 end
local left = tonumber(redis.call('GET', KEYS[1]) or 0)
if left < tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
]]

local settings, by_hash, by_text, price_limit_seconds

local function bulk(text)
    text = tostring(text)
    return "$" .. #text .. "\r\n" .. text .. "\r\n"
end

local function hex(bytes)
    return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

-- redis, pepper, price_micros, limit, window_seconds
function M.configure(given)
    settings = given
    by_hash = "*8\r\n" .. bulk("EVALSHA") .. bulk(hex(ngx.sha1_bin(SCRIPT))) .. bulk(2)
    by_text = "*8\r\n" .. bulk("EVAL") .. bulk(SCRIPT) .. bulk(2)
    price_limit_seconds = bulk(given.price_micros) .. bulk(given.limit) .. bulk(given.window_seconds)
end

local function ask(socket, script, keys)
    local sent, failed = socket:send({ script, keys, price_limit_seconds })
    if not sent then return nil, failed end
    local line, why = socket:receive()
    if not line then return nil, why end
    if line:byte(1) == 58 then return tonumber(line:sub(2)) end -- ":"
    return nil, line
end

local function debit(account)
    local socket = ngx.socket.tcp()
    socket:settimeouts(1000, 1000, 1000)
    local connected, failed = socket:connect(settings.redis)
    if not connected then return nil, failed end
    local window = math.floor(ngx.time() / settings.window_seconds)
    local keys = bulk("balance:" .. account) .. bulk("window:" .. account .. ":" .. window)
    local left, why = ask(socket, by_hash, keys)
    if not left and why:find("^-NOSCRIPT") then left, why = ask(socket, by_text, keys) end
    if not left then
        socket:close()
        return nil, why
    end
    socket:setkeepalive(60000, 256)
    return left
end

function M.access()
    local token = (ngx.var.http_authorization or ""):match("^[Bb]earer +(%S+)$")
    if not token then return ngx.exit(401) end
    local left, why = debit(ngx.encode_base64(ngx.hmac_sha1(settings.pepper, token)))
    if not left then
        ngx.log(ngx.ERR, "redis: ", why)
        return ngx.exit(503)
    end
    if left == -2 then return ngx.exit(429) end
    if left == -1 then return ngx.exit(402) end
end

return M
