// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

/// @title USDTz
/// @notice The token that trades below par and that the redemption module takes back at par.
/// All amounts are in base units of 1e-6 USDTz.
contract USDTz is ERC20, Ownable {
    /// @notice The caller is neither the owner nor an appointed minter.
    /// @param caller Who called.
    error NotMinter(address caller);

    /// @notice A minter was appointed or dismissed.
    /// @param minter Whose right changed.
    /// @param allowed Whether it may mint and burn from now on.
    event MinterChanged(address indexed minter, bool allowed);

    /// @notice Who may mint, and burn tokens of its own, besides the owner.
    mapping(address account => bool allowed) public minters;

    modifier onlyMinter() {
        if (!minters[_msgSender()] && _msgSender() != owner()) revert NotMinter(_msgSender());
        _;
    }

    /// @param owner Who may mint, and appoint minters.
    constructor(address owner) ERC20("Tether USD Z", "USDTz") Ownable(owner) {}

    /// @notice Appoints or dismisses a minter.
    /// @param minter Whose right changes.
    /// @param allowed Whether it may mint and burn from now on.
    function setMinter(address minter, bool allowed) external onlyOwner {
        minters[minter] = allowed;
        emit MinterChanged(minter, allowed);
    }

    /// @notice Creates tokens. Reverts with NotMinter.
    /// @param recipient Who receives them.
    /// @param amount In 1e-6 USDTz.
    function mint(address recipient, uint256 amount) external onlyMinter {
        _mint(recipient, amount);
    }

    /// @notice Destroys tokens of the caller. Reverts with NotMinter.
    /// @param amount In 1e-6 USDTz.
    function burn(uint256 amount) external onlyMinter {
        _burn(_msgSender(), amount);
    }

    /// @inheritdoc ERC20
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
