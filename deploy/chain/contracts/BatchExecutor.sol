// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Batch executor
/// @notice Tries out dependent calls of one account in a single `eth_call`, on nodes without `eth_simulateV1`. It is
/// never deployed: a state override puts its code at the account itself, so the calls come from the account.
/// @dev Readings and the measuring leave nothing behind that would make a call cheaper than it is when it is sent:
/// a frame that reverts takes back what it has warmed.
contract BatchExecutor {
    struct Call {
        address to;
        uint256 value;
        bytes data;
    }

    struct Read {
        address target;
        bytes data;
    }

    /// `gasUsed` is what the called code used: neither the cost of a transaction nor that of the call itself.
    struct Result {
        bool success;
        uint256 gasUsed;
        bytes returned;
        bytes[] readings;
    }

    /// @notice Carries readings out of the frame that is taken back.
    /// @param readings What each read returned.
    error Readings(bytes[] readings);

    /// @notice A read failed.
    /// @param target The contract that was read.
    error ReadFailed(address target);

    uint256 private constant _WARM_CALL = 100;
    uint256 private constant _VALUE = 9_000;
    uint256 private constant _STIPEND = 2_300;
    uint256 private constant _NEW_ACCOUNT = 25_000;

    /// Of the instructions between the two looks at the gas, beside the call; a test compares with a transaction.
    uint256 private constant _MEASURING = 34;

    /// @notice An account without code takes ether and any call, so this does.
    receive() external payable {}

    /// @notice See `receive`.
    fallback() external payable {}

    /// @notice Performs the calls in order up to the first that fails, and reads before the first and after each.
    /// @param calls The calls.
    /// @param reads What to read; a read that fails ends it with ReadFailed.
    /// @return before What the reads returned before the first call.
    /// @return results Of the calls that were performed; the last one may have failed.
    function execute(Call[] calldata calls, Read[] calldata reads)
        external
        returns (bytes[] memory before, Result[] memory results)
    {
        before = _readings(reads);
        results = new Result[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            results[i] = _perform(calls[i]);
            if (!results[i].success) {
                // Nothing comes after it: the list ends here.
                assembly ("memory-safe") {
                    mstore(results, add(i, 1))
                }
                break;
            }
            results[i].readings = _readings(reads);
        }
    }

    /// @notice Reads and reverts, always, with Readings or ReadFailed.
    /// @param reads What to read.
    function read(Read[] calldata reads) external view {
        bytes[] memory values = new bytes[](reads.length);
        for (uint256 i = 0; i < reads.length; ++i) {
            bool success;
            (success, values[i]) = reads[i].target.staticcall(reads[i].data);
            if (!success) revert ReadFailed(reads[i].target);
        }
        revert Readings(values);
    }

    function _readings(Read[] calldata reads) private view returns (bytes[] memory) {
        (, bytes memory thrown) = address(this).staticcall(abi.encodeCall(this.read, (reads)));
        if (thrown.length < 4 || bytes4(thrown) != Readings.selector) {
            assembly ("memory-safe") {
                revert(add(thrown, 0x20), mload(thrown))
            }
        }
        bytes memory encoded = new bytes(thrown.length - 4);
        assembly ("memory-safe") {
            mcopy(add(encoded, 0x20), add(thrown, 0x24), mload(encoded))
        }
        return abi.decode(encoded, (bytes[]));
    }

    function _perform(Call calldata wanted) private returns (Result memory result) {
        (address to, uint256 value, bytes memory data) = (wanted.to, wanted.value, wanted.data);
        // A transaction pays for its own base cost, and its recipient is warm from the beginning.
        uint256 base = _WARM_CALL + _MEASURING;
        if (value > 0) {
            base += _VALUE - _STIPEND;
            if (to.codehash == 0) base += _NEW_ACCOUNT;
        }
        bool success;
        uint256 used;
        assembly ("memory-safe") {
            pop(staticcall(0, to, 0, 0, 0, 0)) // without gas it does nothing but warm the address
            let start := gas()
            success := call(gas(), to, value, add(data, 0x20), mload(data), 0, 0)
            used := sub(start, gas())
        }
        result.success = success;
        result.gasUsed = used > base ? used - base : 0;
        result.returned = _returned();
    }

    function _returned() private pure returns (bytes memory data) {
        assembly ("memory-safe") {
            data := mload(0x40)
            mstore(0x40, add(data, and(add(returndatasize(), 0x3f), not(0x1f))))
            mstore(data, returndatasize())
            returndatacopy(add(data, 0x20), 0, returndatasize())
        }
    }
}
