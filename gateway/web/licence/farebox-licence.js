/**
 * Licences in a web application: verified offline, kept in `localStorage`, renewed and restored by themselves.
 *
 * A licence is verified by WebCrypto with the gateway's public keys, which are kept beside it, so that it counts
 * without a network until it ends. It is renewed when less than `renewSeconds` of it are left, or when it is older than
 * `checkSeconds` (a cancelled subscription shows then). What the gateway refuses (401, 404) is dropped; a gateway that
 * cannot be reached changes nothing.
 *
 * @typedef {Object} Claims
 * @property {string} customerId
 * @property {string} email
 * @property {boolean} proActive
 * @property {number} exportCredits
 * @property {string} iss
 * @property {string | string[]} aud
 * @property {number} exp seconds
 * @property {number} iat seconds
 * @property {string} jti
 *
 * @typedef {Object} Options
 * @property {string} gateway where the gateway is: `https://api.example`
 * @property {string} [issuer] what `iss` says; the gateway's address, if it is not given
 * @property {string} [audience] what `aud` says; the same
 * @property {string} [storageKey] under which it is kept
 * @property {number} [renewSeconds]
 * @property {number} [checkSeconds]
 * @property {() => number} [now] milliseconds
 * @property {Storage} [storage]
 */

const KIND = "licence+jwt";
const RS256 = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };

/** What a licence says, if one of these keys signed it for this audience, and whether it has ended.
 * @param {string} token
 * @param {{keys: JsonWebKey[]}} jwks
 * @param {{issuer: string, audience: string, now?: number, evenEnded?: boolean}} expected `now` in milliseconds
 * @returns {Promise<Claims | null>} null for anything that is not good
 */
export async function verify(token, jwks, { issuer, audience, now = Date.now(), evenEnded = false }) {
  try {
    const [head, body, signature, ...rest] = token.split(".");
    const header = JSON.parse(text(head));
    if (rest.length || header.alg !== "RS256" || header.typ !== KIND || "crit" in header) return null;
    const jwk = jwks.keys.find((key) => key.kid === header.kid && key.kty === "RSA");
    if (!jwk) return null;
    const { kty, n, e } = jwk;
    const key = await crypto.subtle.importKey("jwk", { kty, n, e, alg: "RS256" }, RS256, false, ["verify"]);
    const signed = new TextEncoder().encode(`${head}.${body}`);
    if (!(await crypto.subtle.verify(RS256.name, key, bytes(signature), signed))) return null;
    const claims = JSON.parse(text(body));
    const ours = claims.iss === issuer && [claims.aud].flat().includes(audience);
    const ends = typeof claims.exp === "number" && (evenEnded || claims.exp * 1000 > now);
    return ours && ends ? claims : null;
  } catch {
    return null;
  }
}

/** One application's licence on this device. */
export class Licence {
  /** @param {Options} options */
  constructor(options) {
    this.gateway = options.gateway.replace(/\/+$/, "");
    this.issuer = options.issuer ?? this.gateway;
    this.audience = options.audience ?? this.gateway;
    this.storageKey = options.storageKey ?? "licence";
    this.renewSeconds = options.renewSeconds ?? 7 * 86400;
    this.checkSeconds = options.checkSeconds ?? 86400;
    this.now = options.now ?? Date.now;
    this.storage = options.storage ?? localStorage;
  }

  /** The licence as a text, to be sent as `Authorization: Bearer`; null if there is none.
   * @returns {string | null} */
  get token() {
    return this.#kept()?.license ?? null;
  }

  /** What is true now: renewed where that is due and possible, else by what is kept. Null if nothing good is.
   * @returns {Promise<Claims | null>} */
  async current() {
    const known = await this.#known(true);
    if (!known) return null;
    const now = this.now() / 1000;
    if (known.exp - now < this.renewSeconds || now - known.iat >= this.checkSeconds) await this.refresh();
    return this.#known(false);
  }

  /** Ask for a new one now. False if the gateway could not be asked.
   * @returns {Promise<boolean>} */
  async refresh() {
    const license = this.token;
    if (!license) return false;
    const answer = await this.#ask("/refresh", { license }).catch(() => null);
    if (answer?.ok) return this.#keep(await answer.json());
    if (answer && (answer.status === 401 || answer.status === 404)) this.forget();
    return false;
  }

  /** A code is sent to this address, if it has a licence. Whether it has is not told. Throws if that failed.
   * @param {string} email */
  async restore(email) {
    const answer = await this.#ask("", { email });
    if (!answer.ok) throw new Error(`restore: ${answer.status}`);
    const told = await answer.json();
    if (told.license) await this.#keep(told);
  }

  /** The licence of a code: one that was sent, or that a checkout ended with. False if it is not good.
   * @param {string} code
   * @returns {Promise<boolean>} */
  async exchange(code) {
    const answer = await this.#ask("/exchange", { code });
    return answer.ok && this.#keep(await answer.json());
  }

  /** Where it can be subscribed to; send the browser there.
   * @param {string} plan
   * @param {string} email
   * @param {string} [returnTo] back to here, if it is not given
   * @returns {Promise<string>} */
  async subscribe(plan, email, returnTo = location.href.split("#")[0]) {
    const content = { plan, email, return_to: returnTo };
    const answer = await post(`${this.gateway}/-/api/v1/subscribe`, content);
    if (!answer.ok) throw new Error(`subscribe: ${answer.status}`);
    return (await answer.json()).payment_url;
  }

  /** Call it when the page opens: a checkout comes back with a code behind `#`, which is taken out of the address.
   * @returns {Promise<boolean>} whether there was one, and it was good */
  async arrive() {
    const found = /[#&]licence_code=([A-Z2-7-]+)/.exec(location.hash);
    if (!found) return false;
    history.replaceState(history.state, "", location.pathname + location.search);
    return this.exchange(found[1]);
  }

  /** Nothing is kept on this device any more. */
  forget() {
    this.storage.removeItem(this.storageKey);
  }

  /** @returns {{license: string, jwks: {keys: JsonWebKey[]}} | null} */
  #kept() {
    try {
      return JSON.parse(this.storage.getItem(this.storageKey) ?? "null");
    } catch {
      return null;
    }
  }

  async #known(evenEnded) {
    const kept = this.#kept();
    if (!kept) return null;
    const { issuer, audience } = this;
    return verify(kept.license, kept.jwks, { issuer, audience, now: this.now(), evenEnded });
  }

  /** Keep it with the keys that verify it: they are asked for where those at hand do not. */
  async #keep({ license }) {
    const { issuer, audience } = this;
    const jwks = await fetch(`${this.gateway}/.well-known/jwks.json`).then((answer) => answer.json());
    if (!(await verify(license, jwks, { issuer, audience, now: this.now(), evenEnded: true }))) return false;
    this.storage.setItem(this.storageKey, JSON.stringify({ license, jwks }));
    return true;
  }

  #ask(path, content) {
    return post(`${this.gateway}/-/api/v1/entitlement${path}`, content);
  }
}

function post(url, content) {
  return fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
}

function bytes(part) {
  const whole = atob(part.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(whole, (character) => character.charCodeAt(0));
}

function text(part) {
  return new TextDecoder().decode(bytes(part));
}
