// Reads {"package", "tables": {name: "(column: type, …)"}, "queries": {name: text}} and writes what Microsoft's own
// language service has to say: [{"query", "message", "near"}].
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { runInThisContext } = require("node:vm");

const asked = JSON.parse(readFileSync(0, "utf8"));
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  runInThisContext(readFileSync(join(asked.package, file), "utf8"), { filename: file });
}
const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;
const tables = Object.entries(asked.tables).map(
  ([name, columns]) => new Symbols.TableSymbol.$ctor7(name, columns, null),
);
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", tables));
const found = [];
for (const [query, text] of Object.entries(asked.queries)) {
  const diagnostics = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  for (let index = 0; index < diagnostics.Count; index += 1) {
    const { Message, Start, Length } = diagnostics.getItem(index);
    found.push({ query, message: Message, near: text.substr(Start, Math.max(Length, 20)) });
  }
}
process.stdout.write(JSON.stringify(found));
