import { expect, test } from 'bun:test';
import { tlsHint } from '../../src/core/connection-hints.ts';

const where = '"endpoint" and "ca"';

test.each([
  'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE error:10000412:SSL routines:OPENSSL_internal:SSLV3_ALERT_BAD_CERTIFICATE',
  'error:10000415:SSL routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_EXPIRED',
  'error:10000418:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA',
  'received fatal alert: CertificateRevoked',
])('%s is the server’s word of the device', (text) => {
  expect(tlsHint(text, where)).toStartWith('the server refuses the certificate of this device');
});

test.each(['certificate has expired', 'CERT_NOT_YET_VALID certificate is not yet valid'])(
  '%s is a matter of clocks',
  (text) => {
    expect(tlsHint(text, where)).toStartWith('check the clock of this device');
  },
);

test.each([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE unable to verify the first certificate',
  "ERR_TLS_CERT_ALTNAME_INVALID Hostname/IP does not match certificate's altnames",
  'invalid peer certificate: UnknownIssuer',
])('%s is the device’s word of the server', (text) => {
  expect(tlsHint(text, where)).toBe(
    'the server is not the one that "ca" vouches for: check "endpoint" and "ca"',
  );
});

test.each(['ECONNREFUSED', 'SSLV3_ALERT_HANDSHAKE_FAILURE', 'TLSV1_ALERT_PROTOCOL_VERSION'])(
  '%s says nothing of certificates',
  (text) => {
    expect(tlsHint(text, where)).toBeUndefined();
  },
);
