/** How a command of the same user asks the agent that holds a state directory. */
import { connect } from 'node:net';
import * as v from 'valibot';
import { AgentError, errorCodes } from '../core/errors.ts';
import type { JsonValue } from '../core/json.ts';
import { type ControlRequest, socketPath } from './control.ts';
import { errnoOf } from './disk.ts';

const maxAnswerBytes = 1024 * 1024;
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

/** Undefined where nobody listens. */
function exchange(path: string, line: string, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(path);
    const fail = (error: AgentError) => {
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(
      () => fail(new AgentError('TIMEOUT', `The agent does not answer on ${path}`)),
      timeoutMs,
    );
    socket.setEncoding('utf8');
    socket.once('connect', () => socket.write(line));
    socket.on('data', (chunk: string) => {
      answer += chunk;
      if (answer.length > maxAnswerBytes) fail(new AgentError('INSTALL', `The answer on ${path} has no end`));
    });
    socket.once('error', (error) => {
      const isNobody = ['ENOENT', 'ECONNREFUSED'].includes(errnoOf(error));
      if (isNobody) resolve(undefined);
      else reject(notOurs(path, error));
    });
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}

function notOurs(path: string, error: Error): AgentError {
  return new AgentError('INSTALL', `Cannot ask the agent on ${path}: ${error.message}`, {
    hint: 'run this as the user that the agent runs as, or as root',
    cause: error,
  });
}

function parse(line: string): JsonValue {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new AgentError('INSTALL', 'The agent ended before it had answered', { cause });
  }
}
