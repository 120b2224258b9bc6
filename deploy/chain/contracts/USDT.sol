// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

/// @title USDT stand-in for local chains
/// @notice The dollar token that deals borrow, swap, and repay. All amounts are in base units of 1e-6 USDT.
/// @dev Kept from the real token: 6 decimals, `issue` by the owner, and `approve` that refuses to change one
/// non-zero allowance into another (set it to zero first). Left out: transfers that return nothing, the black
/// list, the pause, and the transfer fee; `transfer`, `transferFrom`, and `approve` return true as ERC-20 says.
contract USDT is ERC20, Ownable {
    /// @notice A non-zero allowance has to be set to zero before it is given another non-zero value.
    /// @param spender Whose allowance it is.
    /// @param current The allowance now, in 1e-6 USDT.
    /// @param requested The allowance asked for, in 1e-6 USDT.
    error AllowanceNotZero(address spender, uint256 current, uint256 requested);

    /// @notice New tokens were issued to the owner.
    /// @param amount In 1e-6 USDT.
    event Issue(uint256 amount);

    /// @param owner Who may issue tokens.
    constructor(address owner) ERC20("Tether USD", "USDT") Ownable(owner) {}

    /// @notice Creates tokens on the owner's account.
    /// @param amount In 1e-6 USDT.
    function issue(uint256 amount) external onlyOwner {
        _mint(owner(), amount);
        emit Issue(amount);
    }

    /// @notice Lets `spender` take up to `amount` from the caller.
    /// @dev Reverts with AllowanceNotZero where both the present and the new allowance are non-zero.
    /// @param spender Who may take the tokens.
    /// @param amount In 1e-6 USDT.
    function approve(address spender, uint256 amount) public override returns (bool) {
        uint256 current = allowance(_msgSender(), spender);
        if (amount != 0 && current != 0) revert AllowanceNotZero(spender, current, amount);
        return super.approve(spender, amount);
    }

    /// @inheritdoc ERC20
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
