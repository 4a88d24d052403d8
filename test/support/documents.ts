/** What the documents tell their readers to type. */
import { readFileSync } from 'node:fs';
import { program } from './tools.ts';

export interface Block {
  /** The heading that it stands under. */
  section: string;
  /** The lines as they stand there. */
  text: string;
}

/** The blocks of shell commands of a document, in their order. @throws Error at a block of an unknown language */
export function shellBlocks(path: string): Block[] {
  return blocksOf(path).flatMap(({ language, ...block }) => {
    if (!['sh', 'json', ''].includes(language))
      throw new Error(
        `a block in ${path} has the language ${language}: commands are sh, what they print has none`,
      );
    return language === 'sh' ? [block] : [];
  });
}

function blocksOf(path: string): Array<Block & { language: string }> {
  const blocks: Array<Block & { language: string }> = [];
  let language = '';
  let section = '';
  let open: string[] | undefined;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (open === undefined && /^#+ /.test(line)) section = line.replace(/^#+ /, '');
    if (open === undefined && line.trimStart().startsWith('```')) {
      open = [];
      language = line.trim().slice('```'.length);
    } else if (open !== undefined && line.trim() === '```') {
      blocks.push({ section, text: open.join('\n'), language });
      open = undefined;
    } else open?.push(line);
  }
  return blocks;
}

/** The one block of a section of the README. */
export function blockOf(section: string): string {
  const blocks = shellBlocks('README.md').filter((block) => block.section === section);
  const [block] = blocks;
  if (block === undefined || blocks.length > 1) throw new Error(`"${section}" has ${blocks.length} blocks`);
  return block.text;
}

/** What stands in code within the text of a document. */
export function inlineOf(path: string): string[] {
  const prose = readFileSync(path, 'utf8')
    .replace(/^```[\s\S]*?^```/gm, '')
    .replace(/\s+/g, ' ');
  return [...prose.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
}

// Those that a test cannot start here, but a reader might.
const foreign = [
  'apk',
  'brew',
  'dnf',
  'docker',
  'export',
  'journalctl',
  'pacman',
  'set',
  'sudo',
  'systemctl',
  'yum',
];

/** Of these texts the commands: a program, or a word of the shell, with what it is told. */
export function commandsIn(texts: readonly string[]): string[] {
  return texts.filter((text) => {
    const [, word] = /^(?:\w+=\S* )*([a-z][\w.-]*) \S/.exec(text) ?? [];
    return word !== undefined && (foreign.includes(word) || program(word).found);
  });
}
