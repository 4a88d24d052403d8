import { createHash, X509Certificate } from 'node:crypto';
import type { DevicePolicy } from './device-policy.ts';

/** A device certificate that is registered in the sandbox, with what its IoT policy allows. */
export interface DeviceCertificate {
  /** SHA-256 of the certificate's DER form in lower-case hex: what AWS IoT calls the certificate id. */
  id: string;
  /** Names of the things that the certificate is attached to. */
  things: Set<string>;
  /** Client ids that may connect besides the names of the things. */
  clientIds: Set<string>;
  /** False: every endpoint treats the certificate as not registered. */
  active: boolean;
  /** Whether the policy has iot:AssumeRoleWithCertificate. */
  assumeRole: boolean;
  /** What the policy allows in the place of all that a device needs, for those of its actions that are named. */
  policy?: Partial<DevicePolicy>;
}

export interface RegisterOptions {
  things?: Iterable<string>;
  clientIds?: Iterable<string>;
  active?: boolean;
  assumeRole?: boolean;
}

/** The thing registry: which certificate belongs to which things. */
export class Things {
  readonly #certificates = new Map<string, DeviceCertificate>();

  /** Registers a certificate (PEM), replacing an earlier registration. What comes back may be changed at any time. */
  register(certPem: string, options: RegisterOptions = {}): DeviceCertificate {
    const certificate: DeviceCertificate = {
      id: certificateId(new X509Certificate(certPem).raw),
      things: new Set(options.things),
      clientIds: new Set(options.clientIds),
      active: options.active ?? true,
      assumeRole: options.assumeRole ?? true,
    };
    this.#certificates.set(certificate.id, certificate);
    return certificate;
  }

  /** The active registration of a certificate in DER form. */
  find(der: Uint8Array): DeviceCertificate | undefined {
    const certificate = this.#certificates.get(certificateId(der));
    return certificate?.active === true ? certificate : undefined;
  }

  /** Names of all things that a certificate is attached to. */
  list(): string[] {
    return [...new Set([...this.#certificates.values()].flatMap(({ things }) => [...things]))].sort();
  }
}

function certificateId(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}
