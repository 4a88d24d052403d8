/** Exit codes of the program; those above 63 are of sysexits.h. */
export const exit = { done: 0, failed: 1, usage: 64, config: 78, interrupted: 130, terminated: 143 } as const;

/** What an exit code of a command means. */
export type Exit = readonly [code: number, meaning: string];

export const wrongUsage: Exit = [exit.usage, 'the command line is wrong'];
export const printedOrNot: readonly Exit[] = [
  [exit.done, 'it is printed'],
  [exit.failed, 'it could not be written where stdout leads to'],
];
/** Of commands that refuse a wrong configuration. */
export const wrongConfiguration: Exit = [exit.config, 'the configuration is wrong; every problem is listed'];
