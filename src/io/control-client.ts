/** How a command of the same user asks the agent that holds a state directory. */
import { stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { AgentError, errorCodes } from '../core/errors.ts';
import type { JsonValue } from '../core/json.ts';
import { type AgentStatus, agentStatusSchema } from '../core/status.ts';
import { nameOfUser, readAccounts } from './accounts.ts';
import { type ControlRequest, socketPath } from './control.ts';
import { errnoOf } from './disk.ts';

const maxAnswerBytes = 1024 * 1024;
const statusTimeoutMs = 5_000;
const refusalSchema = v.object({
  error: v.string(),
  code: v.optional(v.picklist(errorCodes)),
  hint: v.optional(v.string()),
});

/**
 * Asks the agent that runs on a state directory.
 *
 * @returns its answer; undefined where none runs
 * @throws AgentError what the agent refused with; TIMEOUT when it does not answer; INSTALL when its socket cannot be used
 */
export async function askAgent(
  stateDir: string,
  request: ControlRequest,
  timeoutMs: number,
): Promise<JsonValue | undefined> {
  const line = await exchange(socketPath(stateDir), `${JSON.stringify(request)}\n`, timeoutMs);
  if (line === undefined) return undefined;
  const answer = parse(line);
  const refusal = v.safeParse(refusalSchema, answer);
  if (!refusal.success) return answer;
  const { error, code = 'INSTALL', hint } = refusal.output;
  throw new AgentError(code, error, hint === undefined ? {} : { hint });
}

/**
 * What the agent that runs on a state directory says of itself; undefined where none runs.
 *
 * @throws AgentError as `askAgent`; INSTALL as well when it is of a version that answers otherwise
 */
export async function askForStatus(stateDir: string): Promise<AgentStatus | undefined> {
  const answer = await askAgent(stateDir, { command: 'status' }, statusTimeoutMs);
  if (answer === undefined) return undefined;
  const parsed = v.safeParse(agentStatusSchema, answer);
  if (parsed.success) return parsed.output;
  throw new AgentError('INSTALL', 'The running agent answers in a way that this program does not know', {
    hint: 'it is of another version: restart it, so that it is the program that you have here',
  });
}

/** Undefined where nobody listens. */
function exchange(path: string, line: string, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(path);
    const fail = (error: AgentError) => {
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(() => fail(silent(path)), timeoutMs);
    socket.setEncoding('utf8');
    socket.once('connect', () => socket.write(line));
    socket.on('data', (chunk: string) => {
      answer += chunk;
      if (answer.length > maxAnswerBytes) fail(new AgentError('INSTALL', `The answer on ${path} has no end`));
    });
    socket.once('error', (error) => {
      const isNobody = ['ENOENT', 'ECONNREFUSED'].includes(errnoOf(error));
      if (isNobody) resolve(undefined);
      // So many ask in vain that the kernel takes no more of them.
      else if (errnoOf(error) === 'EAGAIN') reject(silent(path));
      else resolve(unreachable(path, error));
    });
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}

function silent(path: string): AgentError {
  return new AgentError('TIMEOUT', `The agent holds ${path}, but does not answer`, {
    hint: 'it hangs, or was stopped: look at its log, and start it again (systemctl restart shadow-agent)',
  });
}

/** Only its own user and root may ask an agent. */
async function unreachable(path: string, cause: Error): Promise<never> {
  const errno = errnoOf(cause);
  const owner = await ownerOf(path);
  const isOthers = ['EACCES', 'EPERM'].includes(errno) && owner !== undefined;
  throw new AgentError('INSTALL', `Cannot ask the agent on ${path}: ${errno}`, {
    hint: isOthers
      ? `run this as the user of the agent, or as root: sudo -u ${owner} shadow-agent …`
      : 'run this as the user that the agent runs as, or as root',
    cause,
  });
}

/** The user of a socket, or of the directory that hides it. */
async function ownerOf(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => stat(dirname(path)).catch(() => undefined));
  if (found === undefined) return undefined;
  return nameOfUser(found.uid, await readAccounts()) ?? `'#${found.uid}'`;
}

function parse(line: string): JsonValue {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new AgentError('INSTALL', 'The agent ended before it had answered', {
      hint: 'ask again, and look at its log if that ends it anew',
      cause,
    });
  }
}
