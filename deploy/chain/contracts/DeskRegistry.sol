// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

/// @title The desk's registry
/// @notice Which Safe is the desk's treasury, and which contracts deals may call. The engine puts no money at risk that
/// the registry does not agree with. Its owner is the timelock: nothing here changes without notice.
contract DeskRegistry is Ownable {
    /// @notice The zero address is nobody's.
    error ZeroAddress();

    /// @notice Another treasury.
    /// @param treasury The treasury from now on.
    event TreasuryChanged(address indexed treasury);

    /// @notice A destination was allowed or forbidden.
    /// @param destination The contract.
    /// @param allowed Whether deals may call it from now on.
    event DestinationChanged(address indexed destination, bool allowed);

    /// @notice The desk's treasury.
    address public treasury;

    /// @notice The contracts that deals may call.
    mapping(address destination => bool allowed) public allowed;

    /// @param owner Who may change it.
    /// @param treasury_ The treasury at first.
    /// @param destinations The contracts that deals may call at first.
    constructor(address owner, address treasury_, address[] memory destinations) Ownable(owner) {
        _setTreasury(treasury_);
        for (uint256 i = 0; i < destinations.length; i++) {
            _setDestination(destinations[i], true);
        }
    }

    /// @notice Changes the treasury. For the owner. Reverts with ZeroAddress.
    /// @param treasury_ The treasury from now on.
    function setTreasury(address treasury_) external onlyOwner {
        _setTreasury(treasury_);
    }

    /// @notice Allows or forbids a destination. For the owner. Reverts with ZeroAddress.
    /// @param destination The contract.
    /// @param allowed_ Whether deals may call it from now on.
    function setDestination(address destination, bool allowed_) external onlyOwner {
        _setDestination(destination, allowed_);
    }

    function _setTreasury(address treasury_) private {
        if (treasury_ == address(0)) revert ZeroAddress();
        treasury = treasury_;
        emit TreasuryChanged(treasury_);
    }

    function _setDestination(address destination, bool allowed_) private {
        if (destination == address(0)) revert ZeroAddress();
        allowed[destination] = allowed_;
        emit DestinationChanged(destination, allowed_);
    }
}
