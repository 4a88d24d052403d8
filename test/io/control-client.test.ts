import { afterEach, describe, expect, test } from 'bun:test';
import { createServer, type Server } from 'node:net';
import { AgentError } from '../../src/core/errors.ts';
import { type Answer, type Control, socketPath, takeControl } from '../../src/io/control.ts';
import { askAgent } from '../../src/io/control-client.ts';
import { caught, useTempDir } from '../support/io-helpers.ts';

const dir = useTempDir();
const status = { command: 'status' } as const;
const open: (Control | Server)[] = [];

afterEach(async () => {
  for (const holder of open.splice(0)) await holder.close();
});

async function agent(answer: Answer): Promise<void> {
  open.push(await takeControl(dir(), answer));
}

/** Something else that listens where an agent would. */
async function impostor(says: string): Promise<void> {
  const server = createServer((socket) => socket.on('error', () => undefined).end(says));
  await new Promise<void>((resolve) => server.listen(socketPath(dir()), resolve));
  open.push(server);
}

describe('askAgent()', () => {
  test('gives what the agent answers', async () => {
    await agent((request) => ({ asked: request.command }));
    expect(await askAgent(dir(), status, 5_000)).toEqual({ asked: 'status' });
  });

  test('waits for an answer that takes longer than a request may', async () => {
    await agent(() => new Promise((resolve) => setTimeout(resolve, 2_500, { done: true })));
    expect(await askAgent(dir(), status, 10_000)).toEqual({ done: true });
  });

  test('gives undefined where none runs', async () => {
    expect(await askAgent(dir(), status, 5_000)).toBeUndefined();
  });

  test('throws what the agent refuses with: code, message and hint', async () => {
    await agent(() => {
      throw new AgentError('HELD', 'There is nothing older', { hint: 'upload it again' });
    });
    const error = await caught(askAgent(dir(), status, 5_000));
    expect(error).toMatchObject({ code: 'HELD', message: 'There is nothing older', hint: 'upload it again' });
  });

  test('throws TIMEOUT when the agent does not answer', async () => {
    await agent(() => new Promise(() => undefined));
    expect(await caught(askAgent(dir(), status, 50))).toMatchObject({ code: 'TIMEOUT' });
  });

  test.each([
    ['', 'ended before it had answered'],
    ['no JSON\n', 'ended before it had answered'],
    ['x'.repeat(2_000_000), 'has no end'],
  ])('is not led astray by what is no agent', async (says, message) => {
    await impostor(says);
    const error = await caught(askAgent(dir(), status, 5_000));
    expect(error).toBeInstanceOf(AgentError);
    expect(String(error)).toContain(message);
  });
});
