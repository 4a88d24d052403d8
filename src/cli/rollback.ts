import type { Command, Configured } from './commands.ts';
import { wrongConfiguration } from './exits.ts';

export type RollbackInvocation = { kind: 'rollback'; property: string } & Configured;

export const rollbackCommand: Command = {
  name: 'rollback',
  usage: ['shadow-agent rollback PROPERTY --config agent.json'],
  summary: 'put the previous file back, and hold it until another hash is desired',
  about: `PROPERTY names the file, as in the shadow. The file that the present one has replaced is put back atomically,
and its hook runs for it with SHADOW_AGENT_ROLLBACK=1. A download or hook of that file that is under way is
ended. The hash that is desired now is refused until another one is desired, over restarts: the shadow shows
status "waiting" with code HELD, and the value of what is installed as reported.

Where an agent runs, it does it; where none runs, this program, as the user of the agent. There is one way
back: a second rollback in a row has nothing older. A held file that is changed by hand is left as it is.`,
  argument: 'PROPERTY',
  options: [],
  exits: [
    [0, 'the previous file is in place'],
    [1, 'no previous file is kept, it cannot be put back, or its hook failed'],
    wrongConfiguration,
  ],
  isConfigured: true,
  invocation: ({ argument = '', options: _, ...configured }) => ({
    kind: 'rollback',
    property: argument,
    ...configured,
  }),
};
