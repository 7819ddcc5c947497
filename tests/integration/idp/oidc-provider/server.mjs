// A real OpenID provider on loopback whose signing keys a test can roll over while it runs.
//
// 1. Two servers on free ports of 127.0.0.1: the issuer, and a control server that only the test knows.
// 2. One line of JSON on stdout says that both listen and where; nothing else is ever written there.
// 3. The process ends when its stdin closes, so it never outlives the test that started it.
// 4. The provider cannot reload keys: each change builds a second provider and swaps the handler, port and issuer stay.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";

const HOST = "127.0.0.1";
const AUDIENCE = "api://orders";
const SCOPE = "orders.read";
const CLIENT_ID = "test-client";
const CLIENT_SECRET = `${randomUUID()}${randomUUID()}`;
// Longer than any time that a test's clock is moved by, so that a refused token was refused for its key.
const TOKEN_SECONDS = 30 * 24 * 3600;

const MAKERS = {
  RS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
  PS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
  Ed25519: () => generateKeyPairSync("ed25519"),
};

class ControlError extends Error {}

function newKey(alg = "RS256") {
  if (!(alg in MAKERS)) throw new ControlError(`expected one of ${Object.keys(MAKERS)}, got ${alg}`);
  return { ...MAKERS[alg]().privateKey.export({ format: "jwk" }), kid: randomUUID(), alg, use: "sig" };
}

function published({ kty, kid, alg, use, n, e, crv, x, y }) {
  // The absent members are undefined, which JSON leaves out.
  return { kty, kid, alg, use, n, e, crv, x, y };
}

// --- The issuer -----------------------------------------------------------------------------------------------------

let issuer;
let keys = []; // Private JWKs as published, in order; the first one signs.
let handler;
let fault = null;
const counts = { discovery: 0, jwks: 0 };
let held = []; // Requests that the fault "hold" keeps waiting until another fault, or none, is set.

function swapProvider() {
  const [{ alg, kid }] = keys;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT_ID,
        client_secret: CLIENT_SECRET,
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
        // Its default is RS256: with no RSA key left, the token endpoint would answer invalid_client_metadata.
        id_token_signed_response_alg: alg,
      },
    ],
    jwks: { keys },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => AUDIENCE,
        getResourceServerInfo: () => ({
          scope: SCOPE,
          audience: AUDIENCE,
          accessTokenFormat: "jwt",
          accessTokenTTL: TOKEN_SECONDS,
          jwt: { sign: { alg, kid } },
        }),
      },
    },
  });
  handler = provider.callback();
}

const FAULTS = {
  error: (request, response) => response.writeHead(500, { "content-type": "text/plain" }).end("out of order"),
  hold: (request, response) => held.push([request, response]),
  truncated: (request, response) => {
    const whole = JSON.stringify({ keys: keys.map(published) });
    json(response, 200, whole.slice(0, whole.length / 2));
  },
  empty: (request, response) => json(response, 200, '{"keys":[]}'),
  html: (request, response) => response.writeHead(200, { "content-type": "text/html" }).end("<html><body>Maintenance</body></html>"),
};

const issuerServer = createServer((request, response) => {
  const { pathname } = new URL(request.url, issuer);
  if (pathname.startsWith("/.well-known/")) counts.discovery += 1;
  if (pathname === "/jwks") {
    counts.jwks += 1;
    if (fault) return FAULTS[fault](request, response);
  }
  return handler(request, response);
});

// --- The control server ---------------------------------------------------------------------------------------------

function find(kid) {
  const key = keys.find((candidate) => candidate.kid === kid);
  if (!key) throw new ControlError(`expected a published kid, got ${kid}`);
  return key;
}

function setFault(kind) {
  if (kind && !(kind in FAULTS)) throw new ControlError(`expected one of ${Object.keys(FAULTS)}, got ${kind}`);
  fault = kind;
  for (const [request, response] of held.splice(0)) handler(request, response);
}

const COMMANDS = {
  "/publish": ({ alg }) => { keys = [...keys, newKey(alg)]; },
  "/promote": ({ kid }) => { const key = find(kid); keys = [key, ...keys.filter((other) => other !== key)]; },
  "/rotate": ({ alg }) => { keys = [newKey(alg), ...keys]; },
  "/retire": ({ kid }) => {
    const key = find(kid);
    if (keys.length === 1) throw new ControlError("expected a key beside the retired one, got none");
    keys = keys.filter((other) => other !== key);
  },
  "/cut-over": ({ alg }) => { keys = [newKey(alg)]; },
  "/fault": ({ kind }) => setFault(kind),
};

function state() {
  return JSON.stringify({ counts, signing: keys[0].kid, keys: keys.map(published) });
}

function json(response, status, text) {
  response.writeHead(status, { "content-type": "application/json" }).end(text);
}

async function control(request, response) {
  let text = "";
  for await (const chunk of request) text += chunk;
  try {
    if (request.method === "POST") {
      const before = keys;
      const command = COMMANDS[request.url];
      if (!command) throw new ControlError(`expected one of ${Object.keys(COMMANDS)}, got ${request.url}`);
      command(JSON.parse(text || "{}"));
      if (keys !== before) swapProvider();
    }
    json(response, 200, state());
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    json(response, 400, JSON.stringify({ error: error.message }));
  }
}

const controlServer = createServer(control);

// --- Start and end --------------------------------------------------------------------------------------------------

function listen(server) {
  return new Promise((resolve) => server.listen(0, HOST, () => resolve(`http://${HOST}:${server.address().port}`)));
}

process.stdin.on("end", () => process.exit(0)).resume();

issuer = await listen(issuerServer);
keys = [newKey()];
swapProvider();
const ready = {
  issuer,
  control: await listen(controlServer),
  token_url: `${issuer}/token`,
  client_id: CLIENT_ID,
  client_secret: CLIENT_SECRET,
  audience: AUDIENCE,
  scope: SCOPE,
};
process.stdout.write(`${JSON.stringify(ready)}\n`);
