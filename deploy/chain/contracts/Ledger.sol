// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Ledger
/// @notice Counts how often each intent took effect on chain: the judge of exactly-once tests. A correct system
/// leaves every count at one, whatever crashed meanwhile.
contract Ledger {
    /// @notice An intent took effect.
    /// @param intentId The intent.
    /// @param caller Who sent it.
    /// @param count How often it took effect up to now; anything above one is a defect of the sender.
    event Recorded(bytes32 indexed intentId, address indexed caller, uint256 count);

    /// @notice How often an intent took effect.
    mapping(bytes32 intentId => uint256 count) public executions;

    /// @notice How many calls were recorded over all intents.
    uint256 public total;

    /// @notice Counts one execution; never refuses, because a second one has to be seen rather than prevented.
    /// @param intentId The intent.
    /// @return count How often it took effect up to now.
    function record(bytes32 intentId) external returns (uint256 count) {
        count = ++executions[intentId];
        ++total;
        emit Recorded(intentId, msg.sender, count);
    }
}
