/** Packs the functions for AWS: as an archive, and inside of the template, which then deploys in one command. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { zip } from './zip.ts';

export const archiveName = 'publisher.zip';
export const templateName = 'template.yaml';

/** Bundles lambda.ts into one module of that format. @throws Error when the sources do not bundle */
export type Bundle = (outfile: string, options: readonly string[]) => Promise<void>;

/** In the archive, an ES module: its name says so. */
const archived = { name: 'index.mjs', options: ['--format=esm'] };
/**
 * CloudFormation calls inline code `index.js`, which is CommonJS (AWS::Lambda::Function Code). It stands there twice,
 * so blanks are left out; names stay for stack traces.
 */
const inline = { name: 'index.js', options: ['--format=cjs', '--minify-whitespace', '--minify-syntax'] };

/** What a template may have that is no object in S3. Source: CloudFormation API, TemplateBody. */
const maxTemplateBytes = 51_200;
const reference = `Code: ../../dist/${archiveName}`;

/**
 * Writes `publisher.zip`, and `template.yaml` with the code in it. The same sources give the same bytes.
 * @throws Error when the sources do not bundle, or are too large for a template
 */
export async function packageFunctions(outdir: string, bundle: Bundle): Promise<void> {
  await mkdir(outdir, { recursive: true });
  const scratch = await mkdtemp(join(outdir, '.publisher-'));
  const bundled = async ({ name, options }: typeof inline) => {
    const outfile = join(scratch, name);
    await bundle(outfile, options);
    return await readFile(outfile);
  };
  try {
    const archive = zip([{ name: archived.name, content: await bundled(archived) }]);
    const source = await readFile(join(import.meta.dirname, templateName), 'utf8');
    const template = withCode(source, (await bundled(inline)).toString().trim());
    await writeFile(resolve(outdir, archiveName), archive);
    await writeFile(resolve(outdir, templateName), template);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * The template with code in the place of each reference to the archive, and without comments.
 * @throws Error when that is more than CloudFormation takes
 */
export function withCode(template: string, code: string): string {
  // A string of JSON is one of YAML.
  const inlined = template
    .replaceAll(/^ *#.*\n/gm, '')
    .replaceAll(reference, () => `Code: { ZipFile: ${JSON.stringify(code)} }`);
  const bytes = Buffer.byteLength(inlined);
  if (bytes <= maxTemplateBytes) return inlined;
  throw new Error(
    `The template with its code has ${bytes} bytes; CloudFormation takes ${maxTemplateBytes} without a bucket`,
  );
}
