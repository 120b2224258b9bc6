"""Pure rules and models of a deal: no input or output, no Temporal, no web3."""
