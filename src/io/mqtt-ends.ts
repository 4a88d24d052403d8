/** Why a connection to the broker was not made or has ended, in words, and what to do about it. */
import { dataPlace, nameHint, outageHint, tlsHint } from '../core/connection-hints.ts';
import { AgentError, type AgentErrorOptions } from '../core/errors.ts';
import { policyStatement } from '../core/iot-policy.ts';
import { authority } from './http.ts';
import type { MqttOptions } from './mqtt.ts';
import { through, Unreachable } from './proxy.ts';

/** The broker has ended a connection that it had taken, or the network has. */
export class LinkLost extends AgentError {
  constructor(message: string, options: AgentErrorOptions = {}) {
    super('MQTT', message, options);
  }
}

const foreignHint =
  'AWS IoT does not do so: check that "endpoint" is right and not exchanged with "credentialEndpoint", and what stands behind it';

/** The agent has ended the connection: what the broker does there is against the protocol, or beyond all measure. */
export class BrokerFault extends LinkLost {
  constructor(host: string, problem: string, cause?: unknown) {
    super(`The broker ${host} ${problem}`, { hint: foreignHint, cause });
  }
}

const connackReasons: Record<number, string> = {
  1: 'it does not speak MQTT 3.1.1',
  2: 'it refuses the client id',
  3: 'it is not available',
  4: 'bad user name or password',
  5: 'not authorised',
};

/** Why a connection is gone, by whether the broker had taken it and what the library says. */
export function closeReason(options: MqttOptions, connected: boolean, cause: Error | undefined): AgentError {
  const code = cause !== undefined && 'code' in cause ? cause.code : undefined;
  if (connected) return endOf(options, code, cause);
  if (typeof code === 'number' && code > 0) return refusal(options, code, cause);
  const isCut = cause === undefined || code === 'ECONNRESET' || code === 'EPIPE';
  if (!isCut) return cannotConnect(options, cause);
  const how = cause === undefined ? 'closed' : 'reset';
  const message = `Cannot connect to the broker ${placeOf(options)}: it ${how} the connection before its CONNACK`;
  // Without a cause: it is what AWS IoT says instead of a refusal.
  return new AgentError('NETWORK', message, {
    hint: `check that the certificate is active, and ${policyHint(options)}`,
  });
}

/** The end of a connection that the broker had taken. */
function endOf(options: MqttOptions, code: unknown, cause: Error | undefined): AgentError {
  const where = placeOf(options);
  if (cause?.message === 'Keepalive timeout') {
    const message = `The broker ${where} did not answer a ping: the link is dead`;
    return new AgentError('TIMEOUT', message, { cause });
  }
  // The errors of sockets have a word for a code, those of the protocol a number or none.
  if (cause !== undefined && typeof code !== 'string') {
    return new BrokerFault(options.host, `breaks the protocol: ${cause.message}`, cause);
  }
  const why = cause === undefined ? 'it closed it' : cause.message;
  return new LinkLost(`The connection to the broker ${where} was lost: ${why}`, { cause });
}

/** What a CONNACK says; a code that MQTT 3.1.1 does not have is a refusal as well. */
function refusal(options: MqttOptions, code: number, cause: Error | undefined): AgentError {
  const reason = connackReasons[code] ?? `code ${code}, which MQTT 3.1.1 does not have`;
  const hints: Record<number, string> = {
    2: `check "clientId": AWS IoT takes up to 128 bytes, here it is "${options.clientId}"`,
    3: outageHint('it'),
    4: policyHint(options),
    5: policyHint(options),
  };
  return new AgentError('MQTT', `The broker ${placeOf(options)} refuses the connection: ${reason}`, {
    hint: hints[code] ?? foreignHint,
    cause,
  });
}

function policyHint({ host, clientId }: MqttOptions): string {
  return `attach to the certificate a policy that has ${policyStatement(host, 'Connect', [clientId])}`;
}

function placeOf({ host, port, proxy }: MqttOptions): string {
  return `${authority(host, port)}${through(proxy)}`;
}

/** Why none was made. */
export function cannotConnect(options: MqttOptions, cause: unknown): AgentError {
  const why = cause instanceof Error ? reasonOf(cause) : String(cause);
  const hint =
    cause instanceof Unreachable
      ? cause.hint
      : (tlsHint(why, dataPlace) ?? nameHint(why, dataPlace) ?? protocolHint(cause));
  const message = `Cannot connect to the broker ${placeOf(options)}: ${why}`;
  return new AgentError('NETWORK', message, { cause, ...(hint === undefined ? {} : { hint }) });
}

/** A connection that stood until what came over it was no MQTT. */
function protocolHint(cause: unknown): string | undefined {
  return cause instanceof Error &&
    !(cause instanceof Unreachable) &&
    !('code' in cause) &&
    cause.message !== 'connack timeout'
    ? foreignHint
    : undefined;
}

function reasonOf(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return error.message.includes(code) ? error.message : `${code} ${error.message}`;
}
