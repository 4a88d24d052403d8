/** What the documents tell their readers to type. */
import { readFileSync } from 'node:fs';

export interface Block {
  /** The heading that it stands under. */
  section: string;
  /** The lines as they stand there. */
  text: string;
}

/** The blocks of shell commands of a document, in their order. */
export function shellBlocks(path: string): Block[] {
  const blocks: Block[] = [];
  let section = '';
  let open: string[] | undefined;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (open === undefined && /^#+ /.test(line)) section = line.replace(/^#+ /, '');
    if (open === undefined && line === '```sh') open = [];
    else if (open !== undefined && line === '```') {
      blocks.push({ section, text: open.join('\n') });
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
