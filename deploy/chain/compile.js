// SPDX-License-Identifier: Apache-2.0
// Compiles contracts/*.sol with the solc package and prints {"<Name>": {"abi", "bytecode", "runtime"}} on stdout.
// Source names are relative, so the same sources give the same bytes in every folder.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const solc = require("solc");

const CONTRACTS = path.join(__dirname, "contracts");
const MODULES = path.join(__dirname, "node_modules");

const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: "prague",
  metadata: { bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

function sources() {
  const names = fs.readdirSync(CONTRACTS).filter((name) => name.endsWith(".sol")).sort();
  return Object.fromEntries(
    names.map((name) => [name, { content: fs.readFileSync(path.join(CONTRACTS, name), "utf8") }]),
  );
}

function readImport(name) {
  try {
    return { contents: fs.readFileSync(path.join(MODULES, name), "utf8") };
  } catch (error) {
    return { error: `${name}: ${error.code}` };
  }
}

function compile() {
  const input = { language: "Solidity", sources: sources(), settings };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: readImport }));
  // Warnings stop the build too: the contracts are few, and a warning nobody reads is noise.
  if (output.errors?.length) {
    process.stderr.write(output.errors.map((error) => error.formattedMessage).join("\n"));
    process.exit(1);
  }
  const own = {};
  for (const file of Object.keys(input.sources)) {
    for (const [name, contract] of Object.entries(output.contracts[file])) {
      own[name] = {
        abi: contract.abi,
        bytecode: `0x${contract.evm.bytecode.object}`,
        runtime: `0x${contract.evm.deployedBytecode.object}`,
      };
    }
  }
  return own;
}

process.stdout.write(JSON.stringify(compile()));
