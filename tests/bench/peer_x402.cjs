// An API behind x402-express, as its documentation sets it up: the middleware asks a facilitator before each answer and
// after it. What is behind it is asked on connections that stay open.
//
//     NODE_PATH=… node peer_x402.cjs PORT UPSTREAM_PORT PATH

const http = require("node:http");
const express = require("express");
const { paymentMiddleware } = require("x402-express");

const [port, upstream, path] = process.argv.slice(2);
const facilitator = { url: `http://127.0.0.1:${upstream}` };
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });

const app = express();
app.disable("x-powered-by");
app.use(paymentMiddleware("0x1111111111111111111111111111111111111111",
    { [`POST ${path}`]: { price: "$0.001", network: "base-sepolia" } }, facilitator));
app.post(path, (request, answer) => {
    const headers = { "content-type": request.headers["content-type"], "content-length": request.headers["content-length"] };
    const asked = http.request({ agent, port: upstream, method: "POST", path, headers }, (answered) => {
        answer.writeHead(answered.statusCode, answered.headers);
        answered.pipe(answer);
    });
    asked.on("error", () => answer.status(502).end());
    request.pipe(asked);
});
app.listen(Number(port), "127.0.0.1");
