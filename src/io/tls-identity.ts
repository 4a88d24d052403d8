/** An identity as TLS is to be given it. */
import type { Identity } from './identity.ts';
import { defaultRoots, type TlsIdentity } from './runtime.ts';

/** What is shown to, and wanted of, the servers of AWS IoT. */
export const deviceTls = kept(({ caPem, certPem, keyPem }) => ({ ca: [caPem], cert: certPem, key: keyPem }));

/** The roots for S3 beside those that are known anyway. */
export const s3Tls = kept(({ s3CaPem }) =>
  s3CaPem === undefined ? {} : { ca: [...defaultRoots(), s3CaPem] },
);

/** The same answer for the same identity, so that what a runtime keeps for it is kept as long. */
function kept(make: (identity: Identity) => TlsIdentity): (identity: Identity) => TlsIdentity {
  const made = new WeakMap<Identity, TlsIdentity>();
  return (identity) => {
    const known = made.get(identity) ?? make(identity);
    made.set(identity, known);
    return known;
  };
}
