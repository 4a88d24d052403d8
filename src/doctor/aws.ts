/** Probes of what AWS IoT lets this device do. None of them writes: they connect, subscribe, and read. */
import { type Desired, type DesiredRules, parseDesired } from '../core/artifact.ts';
import type { Finding } from '../core/doctor.ts';
import { AgentError } from '../core/errors.ts';
import { type JsonObject, member } from '../core/json.ts';
import { shadowPrefix, shadowTopics } from '../core/shadow.ts';
import type { AgentStatus, StatusOfFile } from '../core/status.ts';
import { durationText } from '../core/words.ts';
import type { Logger } from '../io/log.ts';
import { connectMqtt, type MqttLink } from '../io/mqtt.ts';
import { BrokerFault, LinkLost } from '../io/mqtt-ends.ts';
import { ShadowClient, ShadowRejection } from '../io/shadow-client.ts';
import { milliseconds } from './network.ts';
import { iotPolicy } from './policies.ts';
import { type Findings, fail, ok, skip } from './probe.ts';

// AWS IoT quotas: one CONNECT a second for a client id.
const connectEveryMs = 1_000;
const silent: Logger = { debug: ignore, info: ignore, warning: ignore, error: ignore };

function ignore(): void {}

/** Connects with the real client id. AWS would end the connection of a running agent for it, so that one is asked. */
export async function probeMqtt(found: Findings, signal: AbortSignal): Promise<Finding> {
  if (found.agent instanceof AgentError) {
    return skip('an agent may run that cannot be asked (see "agent"): its client id is left to it');
  }
  if (found.agent !== undefined) return linkOf(found.agent, found);
  const startedMs = found.clock.nowMs();
  const { clientId } = found.config;
  try {
    found.link = await connect(found, signal);
    return ok(`connected as ${clientId} in ${milliseconds(found.clock.nowMs() - startedMs)}`);
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    // The broker itself says no, or hangs up: TLS alone went well before.
    const isRefusal = error.hint?.includes('iot:Connect') === true;
    const hint =
      'the certificate must be active, and its policy must allow the statement below; the policy must be attached to it';
    if (isOutOfDate(found)) return fail({ message: error.message, hint: outOfDate });
    if (!isRefusal) return fail({ message: error.message, hint: error.hint ?? mqttHint });
    return fail({ message: error.message, hint }, iotPolicy(found.config, 'Connect', [clientId]));
  }
}

const mqttHint = 'check "endpoint", and what on the way may cut MQTT (a firewall, a proxy); then try again';

// With such a certificate no handshake ends well, which TLS 1.3 shows only as a connection that is closed.
export const outOfDate = 'mend the "certificate" above first: AWS takes none outside of its dates';

export function isOutOfDate(found: Findings): boolean {
  return found.firstFailed(['certificate']) !== undefined;
}

function linkOf({ link, pid }: AgentStatus, { config, clock }: Findings): Finding {
  if (link?.connected === true) {
    const { since, error } = link;
    // A connection stands, but those before it were ended one after the other.
    if (error?.code === 'MQTT') return fail(storm(pid, error));
    const text = since === null ? '' : ` for ${durationText(clock.wallMs() - Date.parse(since))}`;
    return ok(
      `the running agent (pid ${pid}) is connected${text}; it was asked, so that it keeps its client id`,
    );
  }
  const { message: reason, hint, code } = link?.error ?? { message: 'no reason is known yet', hint: null };
  const message = `the running agent (pid ${pid}) is not connected: ${reason}`;
  // What AWS ends a session for is most likely what doctor itself never does: to report.
  if (code === 'MQTT' && hint === null) {
    const prefix = shadowPrefix(config.thingName, config.shadowName);
    return fail(
      {
        message,
        hint: `AWS IoT ends a session without a word for a request that the policy lacks, and an older one of the same client id ("${config.clientId}"); doctor sends no report, so it would find nothing by itself: see that the policy has the statement below`,
      },
      iotPolicy(config, 'Publish', [`${prefix}/get`, `${prefix}/update`]),
    );
  }
  return fail({
    message,
    hint: hint ?? 'stop the agent and run doctor again: it then connects itself, and says more',
  });
}

function storm(pid: number | null, { message, hint }: { message: string; hint: string | null }) {
  return {
    message: `the running agent (pid ${pid}) is connected, but will hardly stay so: ${message}`,
    ...(hint === null ? {} : { hint }),
  };
}

async function connect(found: Findings, signal: AbortSignal): Promise<MqttLink> {
  const { host, port } = found.endpoint('data');
  const { clientId, keepAliveSeconds } = found.config;
  const { certPem: cert, keyPem: key, caPem: ca } = found.identity;
  const proxy = found.proxyOf('data');
  return connectMqtt({ host, port, clientId, keepAliveSeconds, proxy, cert, key, ca }, signal);
}

/**
 * Asks something over the connection, or over a new one where the last is gone. AWS IoT ends one without a word for what a
 * policy lacks, but the network ends some too: only one that is lost each time tells anything.
 *
 * @throws LinkLost where each was lost, and what `ask` throws besides
 */
async function overLink<T>(
  found: Findings,
  signal: AbortSignal,
  ask: (link: MqttLink) => Promise<T>,
  tries = 2,
): Promise<T> {
  try {
    found.link ??= await reconnect(found, signal);
    return await ask(found.link);
  } catch (error) {
    if (signal.aborted || !isLost(error)) throw error;
    found.link = undefined;
    if (tries === 1) throw error;
    return overLink(found, signal, ask, tries - 1);
  }
}

async function reconnect(found: Findings, signal: AbortSignal): Promise<MqttLink> {
  await found.clock.sleep(connectEveryMs, signal);
  return connect(found, signal);
}

/** What the broker has done against the protocol is no matter of policies. */
function isLost(error: unknown): error is LinkLost {
  return error instanceof LinkLost && !(error instanceof BrokerFault);
}

/** Each topic by itself. */
export async function probeSubscriptions(found: Findings, signal: AbortSignal): Promise<Finding> {
  const { thingName, shadowName } = found.config;
  const prefix = shadowPrefix(thingName, shadowName);
  const topics = shadowTopics(prefix);
  if (found.running !== undefined) return ok(`all ${topics.length} are granted to the running agent`);
  const startedMs = found.clock.nowMs();
  const refused: string[] = [];
  let isByLoss = false;
  for (const topic of topics) {
    // Each connection takes its second: with one topic refused, the others are likely to be as well.
    const tries = refused.length === 0 ? 2 : 1;
    try {
      refused.push(...(await overLink(found, signal, (link) => link.subscribe([topic]), tries)));
    } catch (error) {
      if (signal.aborted || !isLost(error)) throw error;
      refused.push(topic);
      isByLoss = true;
    }
  }
  const took = milliseconds(found.clock.nowMs() - startedMs);
  if (refused.length === 0) return ok(`all ${topics.length} granted in ${took}`);
  const allow =
    "allow iot:Subscribe on the topic filters, and iot:Receive on the topics, in the certificate's policy";
  const other = '; where it does, the connection was lost each time: look at the link, and run doctor again';
  return fail(
    { message: `refused: ${refused.join(', ')}`, hint: isByLoss ? `${allow}${other}` : allow },
    iotPolicy(found.config, 'Subscribe', [`${prefix}/get/*`, `${prefix}/update/*`]),
  );
}

/** Reads the shadow, and takes note of what it wants. */
export async function probeShadow(found: Findings, signal: AbortSignal): Promise<Finding> {
  const { config, clock, link } = found;
  if (found.running !== undefined) return shadowOf(found, found.running);
  if (link === undefined) return skip('there is no connection');
  const prefix = shadowPrefix(config.thingName, config.shadowName);
  const startedMs = clock.nowMs();
  try {
    const document = await overLink(found, signal, async (current) => {
      const client = await ShadowClient.open(current, prefix, silent, ignore);
      const answer = client.get();
      answer.catch(ignore);
      return Promise.race([answer, unanswered(signal)]);
    });
    const took = milliseconds(clock.nowMs() - startedMs);
    for (const file of config.files) {
      const value = document === undefined ? undefined : member(document.desired, file.property);
      found.desired.set(file.property, parseDesired(value, file));
    }
    if (document === undefined) return ok(`answered in ${took}: the thing has no shadow yet`);
    return ok(`answered in ${took}; ${desiredText(found)}`);
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    if (error.code === 'TIMEOUT') {
      const hint = 'the policy may lack iot:Receive on the answers; AWS then drops them without a word';
      return fail(
        { message: error.message, hint },
        iotPolicy(config, 'Receive', [`${prefix}/get/*`, `${prefix}/update/*`]),
      );
    }
    const isRefused = error instanceof ShadowRejection && [401, 403].includes(error.rejectedCode);
    if (isRefused) return fail(error, iotPolicy(config, 'Publish', [`${prefix}/get`, `${prefix}/update`]));
    if (!isLost(error)) return fail(error);
    const message = `the broker ended the connection at the request, twice: ${error.message}`;
    const hint =
      'the policy may lack iot:Publish on the requests; where it does not, look at the link, and run doctor again';
    return fail({ message, hint }, iotPolicy(config, 'Publish', [`${prefix}/get`, `${prefix}/update`]));
  }
}

function unanswered(signal: AbortSignal): Promise<never> {
  const waitMs = 8_000;
  return new Promise((_, reject) => {
    const late = () =>
      reject(new AgentError('TIMEOUT', `the shadow service did not answer in ${waitMs / 1000} s`));
    const timer = setTimeout(late, waitMs);
    signal.addEventListener('abort', () => clearTimeout(timer));
  });
}

function desiredText({ desired }: Findings): string {
  const wanted = [...desired].flatMap(([property, { kind }]) => (kind === 'absent' ? [] : [property]));
  return wanted.length === 0 ? 'nothing is desired' : `it desires ${wanted.join(', ')}`;
}

function shadowOf(found: Findings, { link, files }: AgentStatus): Finding {
  for (const rules of found.config.files) {
    const file = files[rules.property];
    if (file !== undefined) found.desired.set(rules.property, desiredOf(file, rules));
  }
  const last = link?.lastAnswerAt ?? null;
  if (last === null) {
    return fail({
      message: 'the running agent has no answer yet',
      hint: 'look at its log; stop it and run doctor again: it then asks itself, and says more',
    });
  }
  const ago = durationText(found.clock.wallMs() - Date.parse(last));
  return ok(`the running agent had the last answer ${ago} ago; ${desiredText(found)}`);
}

function desiredOf({ desired, status, error }: StatusOfFile, rules: DesiredRules): Desired {
  if (desired !== null) {
    const { url, hash, versionId, size } = desired;
    const value: JsonObject = {
      url,
      hash,
      ...(versionId === null ? {} : { versionId }),
      ...(size === null ? {} : { size }),
    };
    return parseDesired(value, rules);
  }
  if (error === null || status !== 'failed') return { kind: 'absent', noShadow: false };
  const { code, message, hint } = error;
  return { kind: 'refused', value: null, code, message, ...(hint === null ? {} : { hint }) };
}
