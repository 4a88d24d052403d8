// An alert is what the server says: here of the certificate that it was shown. Source: RFC 8446, 6.2.
const refused = /alert.*(certificate|unknown.?ca|access.?denied)/i;
const outOfDate = /expired|not.yet.valid|NotValidYet/i;
// OpenSSL's and rustls's words for a chain that does not lead to the configured roots, and for a wrong name.
const distrusted = /certificate|self.signed|issuer|altname|hostname/i;

/**
 * What to do about a TLS connection that was not made, by the words of the TLS library; undefined where they say
 * nothing of certificates.
 *
 * @param where the names of what says which server is meant, and whom it is trusted by
 */
export function tlsHint(text: string, where: string): string | undefined {
  if (refused.test(text)) {
    return 'the server refuses the certificate of this device: check that it is active, then its dates and the clock of this device';
  }
  if (outOfDate.test(text)) return 'check the clock of this device, then the dates of the certificate';
  return distrusted.test(text)
    ? `the server is not the one that "ca" vouches for: check ${where}`
    : undefined;
}

/** The same for a name without an address. */
export function nameHint(text: string, where: string): string | undefined {
  return /ENOTFOUND|EAI_AGAIN|DNS/.test(text)
    ? `check the name in ${where}, and the name service of this device`
    : undefined;
}
