// The orders API with Node's own HTTP server and jose, all settings as they come.
//
// 1. One createRemoteJWKSet() for the process, handed to jwtVerify() for each token, as jose's documentation shows it.
// 2. jose has classes for what is wrong with a token, so the service says 401 for those, and 503 where the keys could not be read.
// 3. Clear text needs no setting: jose takes http and https alike.

import { createServer } from "node:http";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";

const {
  KEYTURN_DRILL_ISSUER: issuer,
  KEYTURN_DRILL_AUDIENCE: audience,
  KEYTURN_DRILL_JWKS_URI: jwksUri,
  KEYTURN_DRILL_HOST: host,
  KEYTURN_DRILL_PORT: port,
} = process.env;

const keySet = createRemoteJWKSet(new URL(jwksUri));
// A time-out; a status other than 200 or a body that is no JSON; a body that is no key set. A refused connection is no error of jose's.
const NO_KEYS = new Set([errors.JWKSTimeout.code, errors.JOSEError.code, errors.JWKSInvalid.code]);

function statusOf(error) {
  return error instanceof errors.JOSEError && !NO_KEYS.has(error.code) ? 401 : 503;
}

async function orders(request) {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  if (scheme.toLowerCase() !== "bearer" || !token) return [401, { error: "a bearer token is needed" }];
  try {
    const { payload } = await jwtVerify(token, keySet, { issuer, audience });
    return [200, { for: payload.sub }];
  } catch (error) {
    return [statusOf(error), { error: error.code ?? error.name }];
  }
}

createServer(async (request, response) => {
  const [status, body] = request.url === "/orders" ? await orders(request) : [404, { error: "not found" }];
  const headers = { "content-type": "application/json", ...(status === 401 && { "www-authenticate": "Bearer" }) };
  response.writeHead(status, headers).end(JSON.stringify(body));
}).listen(Number(port), host);
