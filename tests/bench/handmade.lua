-- Pay-per-use as one writes it by hand for nginx: the token's keyed hash names an account in Redis, a window is counted
-- there, and the price is taken without ever overdrawing. How Redis is asked is another file's: `handmade_plain.lua` or
-- `handmade_tuned.lua`. What both do not do, and the gateway does: keep a record of each debit, give the money back when
-- the upstream fails, and lose nothing in a crash (Redis writes to its disk once a second).

local M = {}

local settings, debit

-- way, redis, port, pepper, price_micros, limit, window_seconds
function M.configure(given)
    settings = given
    debit = require(given.way).debit(given)
end

function M.access()
    local token = (ngx.var.http_authorization or ""):match("^[Bb]earer +(%S+)$")
    if not token then return ngx.exit(401) end
    local account = ngx.encode_base64(ngx.hmac_sha1(settings.pepper, token))
    local window = math.floor(ngx.time() / settings.window_seconds)
    -- -2: too many in this window; -1: too little money; else what is left
    local left, why = debit("balance:" .. account, "window:" .. account .. ":" .. window)
    if not left then
        ngx.log(ngx.ERR, "redis: ", why)
        return ngx.exit(503)
    end
    if left == -2 then return ngx.exit(429) end
    if left == -1 then return ngx.exit(402) end
end

return M
