// An alert is what the server says: here of the certificate that it was shown. Source: RFC 8446, 6.2.
const refused = /alert.*(certificate|unknown.?ca|access.?denied)/i;
const outOfDate = /expired|not.yet.valid|NotValidYet/i;
// OpenSSL's and rustls's words for a chain that does not lead to the configured roots, and for a wrong name.
const distrusted = /certificate|self.signed|issuer|altname|hostname/i;

/** The names of what says which server is meant, and whom it is trusted by. */
export interface Place {
  endpoint: string;
  /** `"ca"` */
  ca: string;
}

/** S3, which has roots of its own. */
export const s3Place: Place = { endpoint: '"s3.endpoint"', ca: '"s3.ca"' };
export const credentialsPlace: Place = { endpoint: '"credentialEndpoint"', ca: '"ca"' };
export const dataPlace: Place = { endpoint: '"endpoint"', ca: '"ca"' };

/**
 * What to do about a TLS connection that was not made, by the words of the TLS library; undefined where they say
 * nothing of certificates.
 */
export function tlsHint(text: string, { endpoint, ca }: Place): string | undefined {
  if (refused.test(text)) {
    return 'the server refuses the certificate of this device: check that it is active, then its dates and the clock of this device';
  }
  if (outOfDate.test(text)) return 'check the clock of this device, then the dates of the certificate';
  if (!distrusted.test(text)) return undefined;
  return ca === s3Place.ca
    ? `neither the roots of this device nor ${ca} vouch for the server: check ${endpoint}, and name in ${ca} the CA of a server that is not AWS's own`
    : `the server is not the one that ${ca} vouches for: check ${endpoint} and ${ca}`;
}

/** The same for a name without an address. */
export function nameHint(text: string, { endpoint }: Place): string | undefined {
  return /ENOTFOUND|EAI_AGAIN|DNS/.test(text)
    ? `check the name in ${endpoint}, and the name service of this device`
    : undefined;
}

const cut = /ECONNRESET|EPIPE|closed (unexpectedly|the connection)|socket hang up/i;
const foreign =
  /EPROTO|Malformed_HTTP|HPE_|wrong.version.number|header flag bits|invalid (http|header|packet|response)|remaining length|where a CONNACK must come/i;

/** The same for a server that hangs up, or that speaks something else than is expected of it. */
export function speechHint(text: string, { endpoint }: Place): string | undefined {
  if (foreign.test(text)) {
    const other = endpoint === dataPlace.endpoint ? credentialsPlace.endpoint : dataPlace.endpoint;
    return `what answers there is another kind of server: check ${endpoint}, and that it is not exchanged with ${other}`;
  }
  return cut.test(text)
    ? `the server, or a firewall or proxy on the way, cuts the connection: check ${endpoint}; where it is right, try again`
    : undefined;
}

const byItself = 'the agent tries again by itself';

/** What to do about a service that can be reached and fails; also for who asks without an agent. */
export function outageHint(service: string): string {
  return `${service} is busy or fails: ${byItself}; where that lasts, look at health.aws.amazon.com`;
}

/** The same for one that throttles. */
export function quotaHint(service: string): string {
  return `the account asks ${service} more often than its quota allows: ${byItself}, and jitterSeconds spreads what a fleet asks for`;
}
