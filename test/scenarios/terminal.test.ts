/** What a person sees who types the commands into a terminal. With the compiled executable, in tmux. */
import { expect } from 'bun:test';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { Terminal, tmux } from '../support/terminal.ts';
import { toolTest } from '../support/tools.ts';
import { executable, noise, scenario, until, type World } from '../support/world.ts';

function terminalTest(
  name: string,
  play: (world: World, terminal: Terminal) => Promise<void>,
  size?: readonly [width: number, height: number],
): void {
  toolTest([tmux], name, () =>
    scenario(async (world) => {
      const terminal = new Terminal(world.device.dir, { A: await executable() }, size);
      try {
        await play(world, terminal);
      } finally {
        terminal.close();
      }
    }),
  );
}

/** Starts the agent in the terminal, on an object that takes it a while. */
async function startDownload(world: World, terminal: Terminal, bytes: number): Promise<void> {
  world.sandbox.faults.set('s3-slow', 500_000);
  await world.put('big.bin', noise(bytes));
  terminal.type('$A --config agent.json');
}

terminalTest(
  'a running download shows one line beneath the log, rewritten in place, that is gone at the end',
  async (world, terminal) => {
    world.sandbox.faults.set('s3-slow', 700_000);
    terminal.type('$A --config agent.json');
    await terminal.shows(/Connected to AWS IoT/);
    await world.put('big.bin', noise(5_000_000));
    const line = /^s3: \d+\.\d [kM]B of 5\.0 MB \(\d+ %\), \d+\.\d [kM]B\/s, \d+ s left$/m;
    const count = (screen: string) => screen.split('\n').filter((each) => line.test(each)).length;
    const first = await terminal.shows(line);
    expect(count(first)).toBe(1);
    expect(first.split('\n').at(-1)).toMatch(line);
    // A line of the log goes above it.
    const lines = terminal.screen().split('\n').length;
    world.sandbox.broker.kick('test-thing');
    const second = await terminal.shows(/was lost[\s\S]*\ns3: /);
    expect(second.split('\n').length).toBeGreaterThan(lines);
    expect(count(second)).toBe(1);
    for (const each of second.split('\n').slice(1)) expect(each).not.toMatch(/s3: .*\d{4}-\d\d-\d\dT/);
    await terminal.shows(/Installed/);
    await until('the line is gone', () => count(terminal.screen()) === 0);
    terminal.press('C-c');
    expect(await terminal.shows(/shadow-agent ends\n\$$/)).not.toMatch(line);
  },
);

terminalTest(
  'a terminal that is made narrower in the middle of a download keeps no piece of the line',
  async (world, terminal) => {
    await startDownload(world, terminal, 6_000_000);
    await terminal.shows(/^s3: \d+\.\d [kM]B of 6\.0 MB .* left$/m);
    for (const width of [40, 20, 12]) {
      terminal.resize(width);
      const screen = await terminal.shows(new RegExp(`^s3: \\d+ %.{0,${width - 7}}$(?![^]*\n)`, 'm'));
      expect(screen.match(/^s3: .*/gm)).toHaveLength(1);
      // tmux tells the program of one size in a quarter of a second.
      const percent = /^s3: (\d+) %/m.exec(screen)?.[1] ?? '';
      await terminal.shows(new RegExp(`^s3: (?!${percent} |${Number(percent) + 1} )\\d+ %`, 'm'));
    }
    terminal.press('C-c');
  },
);

terminalTest(
  'status and doctor are coloured on a terminal, and not with NO_COLOR',
  async (world, terminal) => {
    await world.put('test.txt', 'hoge\n');
    await world.start();
    await until('the file', () => world.file() === 'hoge\n');
    const green = '\u001b[32m';
    for (const [command, text] of [
      ['status', 'running'],
      ['doctor', 'ok'],
    ]) {
      terminal.type(`clear; $A ${command} --config agent.json; echo code $?`);
      await terminal.shows(/^code 0$/m);
      expect(terminal.coloured()).toContain(`${green}${text}`);
      for (const line of terminal.screen().split('\n'))
        expect(line.length).toBeLessThanOrEqual(terminal.width);
      terminal.type(`clear; NO_COLOR=1 $A ${command} --config agent.json; echo again $?`);
      await terminal.shows(/^again 0$/m);
      expect(terminal.coloured()).not.toContain('\u001b[');
    }
  },
);

terminalTest(
  'on 40 columns doctor and status are folded at their words, and the progress line keeps to what counts',
  async (world, terminal) => {
    await startDownload(world, terminal, 5_000_000);
    const line = /^s3: \d+ %, \d+ s left$/m;
    expect((await terminal.shows(line)).split('\n').at(-1)).toMatch(line);
    await until('the file', () => world.status()['status'] === 'current');
    terminal.press('C-c');
    await terminal.shows(/agent ends\n\$$/);
    terminal.type('clear; $A doctor --config agent.json; echo code $?');
    const doctor = await terminal.shows(/^code 0$/m);
    expect(doctor).toContain(
      '\nok    identity\n      the key is that of the\n      certificate, whose id is\n',
    );
    expect(doctor).toContain('\nok    clock\n      within 2 s of 127.0.0.1\n');
    terminal.type('clear; $A status --config agent.json; echo code $?');
    const status = await terminal.shows(/^code 1$/m);
    expect(status).toStartWith(
      'agent        does not run; what follows\n             is what the disk and the\n             state file tell\n',
    );
  },
  [40, 90],
);

terminalTest(
  'while a probe waits for a server doctor shows what it tries, in a line that goes with the answer',
  async (_world, terminal) => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const address = silent.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    try {
      terminal.type(`clear; $A doctor --config agent.json --endpoint 127.0.0.1:${port}; echo code $?`);
      const waiting = await terminal.shows(/^trying tls data, tls credentials, tls s3 …$/m);
      expect(waiting.split('\n').at(-1)).toStartWith('trying ');
      expect(await terminal.shows(/^code 1$/m)).not.toContain('trying');
    } finally {
      silent.close();
    }
  },
);
