// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

/// @notice What is needed of Safe 1.4.1.
interface ISafe {
    function enableModule(address module) external;
    function setGuard(address guard) external;
    function getOwners() external view returns (address[] memory);
    function execTransactionFromModule(address to, uint256 value, bytes calldata data, uint8 operation)
        external
        returns (bool success);
}

/// @title Governor of a Safe
/// @notice Module and guard of a Safe: who owns it changes by the governor's owner alone, which is a timelock. What the
/// owners sign can pay and call, but not change the Safe itself.
/// @dev As a module it can do one thing, swap an owner, so that whoever gets hold of the timelock gets no money.
contract SafeGovernor is Ownable {
    /// @notice The Safe would change itself, or run foreign code as itself.
    /// @param to Whom the transaction calls.
    /// @param operation 0 call, 1 delegate call.
    error SafeIsGoverned(address to, uint8 operation);

    /// @notice He is no owner of the Safe.
    /// @param owner Who was to be replaced.
    error NotAnOwner(address owner);

    /// @notice The Safe refused to swap its owner: the new one is an owner already, or can be none.
    /// @param newOwner Who was to be an owner.
    error SwapRefused(address newOwner);

    /// @notice An owner was replaced.
    /// @param safe Whose owner.
    /// @param oldOwner Who is an owner no more.
    /// @param newOwner Who is one instead.
    event OwnerSwapped(address indexed safe, address oldOwner, address newOwner);

    /// @dev Safe's list of owners begins with it.
    address private constant SENTINEL = address(1);

    /// @dev ERC-165 ids: of ERC-165 itself, and of Safe 1.4.1's Guard.
    bytes4 private constant ERC165 = 0x01ffc9a7;
    bytes4 private constant GUARD = 0xe6d7a83a;

    /// @param owner Who may swap owners.
    constructor(address owner) Ownable(owner) {}

    /// @notice Replaces an owner of a Safe. For the owner. Reverts with NotAnOwner and SwapRefused.
    /// @param safe Whose owner; the governor has to be its module.
    /// @param oldOwner Who will be an owner no more.
    /// @param newOwner Who will be one instead.
    function swapOwner(ISafe safe, address oldOwner, address newOwner) external onlyOwner {
        address previous = _before(safe, oldOwner);
        bytes memory data =
            abi.encodeWithSignature("swapOwner(address,address,address)", previous, oldOwner, newOwner);
        if (!safe.execTransactionFromModule(address(safe), 0, data, 0)) revert SwapRefused(newOwner);
        emit OwnerSwapped(address(safe), oldOwner, newOwner);
    }

    /// @notice Asked by the Safe before each transaction of its owners. Reverts with SafeIsGoverned.
    /// @dev An empty call of the Safe by itself is let through: it uses up a nonce.
    function checkTransaction(
        address to,
        uint256,
        bytes memory data,
        uint8 operation,
        uint256,
        uint256,
        uint256,
        address,
        address payable,
        bytes memory,
        address
    ) external view {
        if (operation != 0 || (to == msg.sender && data.length != 0)) revert SafeIsGoverned(to, operation);
    }

    /// @notice Told by the Safe after each transaction of its owners; nothing is left to check.
    function checkAfterExecution(bytes32, bool) external pure {}

    /// @notice Whether it is what it is asked for (ERC-165).
    /// @param id An interface's id.
    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == GUARD || id == ERC165;
    }

    function _before(ISafe safe, address owner) private view returns (address previous) {
        address[] memory owners = safe.getOwners();
        previous = SENTINEL;
        for (uint256 i = 0; i < owners.length; i++) {
            if (owners[i] == owner) return previous;
            previous = owners[i];
        }
        revert NotAnOwner(owner);
    }
}

/// @title Setup of a governed Safe
/// @notice A new Safe runs this as itself, by delegate call, so that it is governed from the beginning.
contract SafeSetup {
    /// @notice Makes the governor the Safe's module and guard.
    /// @param governor The governor.
    function govern(address governor) external {
        ISafe(address(this)).enableModule(governor);
        ISafe(address(this)).setGuard(governor);
    }
}
