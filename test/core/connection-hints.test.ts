import { expect, test } from 'bun:test';
import {
  credentialsPlace,
  dataPlace,
  s3Place,
  speechHint,
  tlsHint,
} from '../../src/core/connection-hints.ts';

const where = dataPlace;

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

test('of S3 its own roots are named', () => {
  const hint = tlsHint('UNABLE_TO_VERIFY_LEAF_SIGNATURE unable to verify the first certificate', s3Place);
  expect(hint).toContain('"s3.ca"');
  expect(hint).not.toContain('"ca"');
});

test('a server that speaks something else may be the other endpoint, one that hangs up may be anything', () => {
  expect(speechHint('Invalid header flag bits, must be 0x0 for puback packet', dataPlace)).toContain(
    'check "endpoint", and that it is not exchanged with "credentialEndpoint"',
  );
  expect(speechHint('EPROTO', credentialsPlace)).toContain('not exchanged with "endpoint"');
  expect(speechHint('read ECONNRESET', s3Place)).toContain('cuts the connection: check "s3.endpoint"');
  expect(speechHint('Keepalive timeout', s3Place)).toBeUndefined();
});
