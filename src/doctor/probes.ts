/**
 * Every probe of `doctor`, in its order: what a later one builds on comes first. Those of one stage run at the same
 * time, so that three servers that do not answer take no longer than one.
 */
import { probeAgent } from './agent.ts';
import { probeMqtt, probeShadow, probeSubscriptions } from './aws.ts';
import { probeHooks } from './hooks.ts';
import {
  probeCertificate,
  probeConfig,
  probeIdentity,
  probeMetrics,
  probePermissions,
  probeStateDir,
} from './local.ts';
import { probeClock, probeDns, probeTls } from './network.ts';
import { probeCredentials, probeObjects } from './objects.ts';
import type { Endpoint, Probe } from './probe.ts';
import { probeTargets } from './targets.ts';

const endpoints = ['data', 'credentials', 's3'] as const;
const localMs = 10_000;
const networkMs = 15_000;

function dns(name: Endpoint['name']): Probe {
  return {
    name: `dns ${name}`,
    needs: ['config'],
    timeoutMs: networkMs,
    run: (found) => probeDns(found, name),
  };
}

function tls(name: Endpoint['name']): Probe {
  return {
    name: `tls ${name}`,
    needs: [`dns ${name}`, 'identity'],
    // Two ports, of which the first may be silent.
    timeoutMs: 40_000,
    run: (found, signal) => probeTls(found, name, signal),
  };
}

export const stages: readonly (readonly Probe[])[] = [
  [
    { name: 'config', needs: [], timeoutMs: localMs, run: probeConfig },
    { name: 'identity', needs: [], timeoutMs: localMs, run: probeIdentity },
    { name: 'permissions', needs: [], timeoutMs: localMs, run: probePermissions },
  ],
  [{ name: 'agent', needs: ['config'], timeoutMs: localMs, run: probeAgent }],
  endpoints.map(dns),
  endpoints.map(tls),
  [{ name: 'clock', needs: ['identity', 'config'], timeoutMs: networkMs, run: probeClock }],
  [{ name: 'certificate', needs: ['identity'], timeoutMs: localMs, run: probeCertificate }],
  [{ name: 'mqtt', needs: ['tls data'], timeoutMs: networkMs, run: probeMqtt }],
  [{ name: 'subscriptions', needs: ['mqtt'], timeoutMs: 40_000, run: probeSubscriptions }],
  [{ name: 'shadow', needs: ['subscriptions'], timeoutMs: networkMs, run: probeShadow }],
  // The provider has 20 s, and its error tells more.
  [{ name: 'credentials', needs: ['tls credentials'], timeoutMs: 25_000, run: probeCredentials }],
  [{ name: 's3', needs: ['tls s3', 'credentials', 'shadow'], timeoutMs: 30_000, run: probeObjects }],
  [
    { name: 'targets', needs: ['config'], timeoutMs: localMs, run: probeTargets },
    { name: 'hooks', needs: ['config'], timeoutMs: localMs, run: probeHooks },
    { name: 'state', needs: ['config'], timeoutMs: localMs, run: probeStateDir },
    { name: 'metrics', needs: ['config'], timeoutMs: localMs, run: probeMetrics },
  ],
];
