// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {USDTz} from "./USDTz.sol";

/// @title Redemption module
/// @notice Changes USDTz into USDT at par less a fee, and USDT into USDTz at par plus the same fee. Its operator
/// can freeze either direction at once; its terms, the fee and the daily cap, are its owner's, which on our chains is
/// a timelock. Both tokens have 6 decimals: all amounts are in units of 1e-6.
/// @dev The fee is rounded up, so that no amount is exchanged free of charge while a fee is set. The daily cap
/// counts redemptions only, in USDTz before the fee, and starts anew at midnight UTC.
contract RedemptionModule is Ownable {
    using SafeERC20 for IERC20;

    /// @notice The two ways through the module.
    enum Direction {
        Redeem,
        Issue
    }

    /// @notice The direction is frozen by the operator.
    /// @param direction 0 redeem, 1 issue.
    error Frozen(Direction direction);

    /// @notice More than what is left to redeem before midnight UTC.
    /// @param requested In 1e-6 USDTz.
    /// @param remaining In 1e-6 USDTz.
    error DailyCapExceeded(uint256 requested, uint256 remaining);

    /// @notice The module holds less USDT than has to be paid.
    /// @param requested In 1e-6 USDT.
    /// @param available In 1e-6 USDT.
    error InsufficientReserve(uint256 requested, uint256 available);

    /// @notice The fee is above the most that may be set.
    /// @param requested In basis points (1e-4).
    /// @param maximum In basis points.
    error FeeTooHigh(uint256 requested, uint256 maximum);

    /// @notice The caller is not the operator.
    /// @param caller Who called.
    error NotOperator(address caller);

    /// @notice Nothing to exchange.
    error ZeroAmount();

    /// @notice The zero address can receive nothing.
    error ZeroRecipient();

    /// @notice USDTz was taken back.
    /// @param caller Who gave the USDTz.
    /// @param recipient Who received the USDT.
    /// @param amount In 1e-6 USDTz.
    /// @param paid In 1e-6 USDT: `amount` less `fee`.
    /// @param fee In 1e-6 USDT.
    event Redeemed(address indexed caller, address indexed recipient, uint256 amount, uint256 paid, uint256 fee);

    /// @notice USDTz was issued.
    /// @param caller Who gave the USDT.
    /// @param recipient Who received the USDTz.
    /// @param amount In 1e-6 USDTz.
    /// @param charged In 1e-6 USDT: `amount` plus `fee`.
    /// @param fee In 1e-6 USDT.
    event Issued(address indexed caller, address indexed recipient, uint256 amount, uint256 charged, uint256 fee);

    /// @notice The operator froze or reopened a direction.
    /// @param direction 0 redeem, 1 issue.
    /// @param frozen Whether it is frozen from now on.
    event FreezeChanged(Direction indexed direction, bool frozen);

    /// @notice Another operator was appointed.
    /// @param operator Who operates from now on.
    event OperatorChanged(address indexed operator);

    /// @notice The fee changed.
    /// @param feeBps In basis points.
    event FeeChanged(uint256 feeBps);

    /// @notice The daily cap changed.
    /// @param dailyCap In 1e-6 USDTz a day.
    event DailyCapChanged(uint256 dailyCap);

    /// @notice The operator took USDT out of the reserve.
    /// @param recipient Who received it.
    /// @param amount In 1e-6 USDT.
    event ReserveWithdrawn(address indexed recipient, uint256 amount);

    /// @notice The most that the fee can be set to, in basis points: 10 %.
    uint256 public constant MAX_FEE_BPS = 1_000;

    uint256 private constant BPS = 10_000;

    /// @notice The token paid out.
    IERC20 public immutable usdt;

    /// @notice The token taken back.
    USDTz public immutable usdtz;

    /// @notice Who freezes and reopens, and takes out reserve.
    address public operator;

    /// @notice The fee of either direction, in basis points.
    uint256 public feeBps;

    /// @notice The most that can be redeemed between two midnights UTC, in 1e-6 USDTz.
    uint256 public dailyCap;

    /// @notice Whether a direction is frozen (0 redeem, 1 issue).
    mapping(Direction direction => bool frozen) public frozen;

    /// @notice What was redeemed on a day, in 1e-6 USDTz. Days are counted from 1970-01-01 UTC.
    mapping(uint256 day => uint256 amount) public redeemedOn;

    modifier onlyOperator() {
        if (_msgSender() != operator) revert NotOperator(_msgSender());
        _;
    }

    /// @param owner Who sets the terms, and appoints the operator.
    /// @param operator_ The operator.
    /// @param usdt_ The token paid out.
    /// @param usdtz_ The token taken back; the module has to be made its minter.
    /// @param feeBps_ The fee in basis points.
    /// @param dailyCap_ The cap in 1e-6 USDTz a day.
    constructor(
        address owner,
        address operator_,
        IERC20 usdt_,
        USDTz usdtz_,
        uint256 feeBps_,
        uint256 dailyCap_
    ) Ownable(owner) {
        _setOperator(operator_);
        usdt = usdt_;
        usdtz = usdtz_;
        _setFee(feeBps_);
        _setDailyCap(dailyCap_);
    }

    /// @notice Takes USDTz from the caller and pays USDT at par less the fee.
    /// @dev Reverts with ZeroAmount, ZeroRecipient, Frozen, DailyCapExceeded, or InsufficientReserve. Needs the
    /// caller's allowance in USDTz.
    /// @param amount In 1e-6 USDTz.
    /// @param recipient Who receives the USDT.
    /// @return paid In 1e-6 USDT.
    function redeem(uint256 amount, address recipient) external returns (uint256 paid) {
        _check(Direction.Redeem, amount, recipient);
        uint256 remaining = remainingToday();
        if (amount > remaining) revert DailyCapExceeded(amount, remaining);
        uint256 fee = _fee(amount);
        paid = amount - fee;
        uint256 available = reserve();
        if (paid > available) revert InsufficientReserve(paid, available);

        redeemedOn[_today()] += amount;
        IERC20(address(usdtz)).safeTransferFrom(_msgSender(), address(this), amount);
        usdtz.burn(amount);
        usdt.safeTransfer(recipient, paid);
        emit Redeemed(_msgSender(), recipient, amount, paid, fee);
    }

    /// @notice Takes USDT at par plus the fee from the caller and issues USDTz.
    /// @dev Reverts with ZeroAmount, ZeroRecipient, or Frozen. Needs the caller's allowance in USDT.
    /// @param amount In 1e-6 USDTz.
    /// @param recipient Who receives the USDTz.
    /// @return charged In 1e-6 USDT.
    function issue(uint256 amount, address recipient) external returns (uint256 charged) {
        _check(Direction.Issue, amount, recipient);
        uint256 fee = _fee(amount);
        charged = amount + fee;

        usdt.safeTransferFrom(_msgSender(), address(this), charged);
        usdtz.mint(recipient, amount);
        emit Issued(_msgSender(), recipient, amount, charged, fee);
    }

    /// @notice Freezes or reopens a direction. For the operator.
    /// @param direction 0 redeem, 1 issue.
    /// @param frozen_ Whether it is frozen from now on.
    function setFrozen(Direction direction, bool frozen_) external onlyOperator {
        frozen[direction] = frozen_;
        emit FreezeChanged(direction, frozen_);
    }

    /// @notice Sets the fee. For the owner. Reverts with FeeTooHigh.
    /// @param feeBps_ In basis points.
    function setFeeBps(uint256 feeBps_) external onlyOwner {
        _setFee(feeBps_);
    }

    /// @notice Sets the daily cap, which holds for today as well. For the owner.
    /// @param dailyCap_ In 1e-6 USDTz a day.
    function setDailyCap(uint256 dailyCap_) external onlyOwner {
        _setDailyCap(dailyCap_);
    }

    /// @notice Appoints the operator. For the owner.
    /// @param operator_ Who operates from now on.
    function setOperator(address operator_) external onlyOwner {
        _setOperator(operator_);
    }

    /// @notice Takes USDT out of the reserve. For the operator.
    /// @param amount In 1e-6 USDT.
    /// @param recipient Who receives it.
    function withdrawReserve(uint256 amount, address recipient) external onlyOperator {
        if (recipient == address(0)) revert ZeroRecipient();
        uint256 available = reserve();
        if (amount > available) revert InsufficientReserve(amount, available);
        usdt.safeTransfer(recipient, amount);
        emit ReserveWithdrawn(recipient, amount);
    }

    /// @notice What `redeem` would pay by the fee alone; freeze, cap, and reserve are not looked at.
    /// @param amount In 1e-6 USDTz.
    /// @return paid In 1e-6 USDT.
    function quoteRedeem(uint256 amount) external view returns (uint256 paid) {
        return amount - _fee(amount);
    }

    /// @notice What `issue` would charge by the fee alone; the freeze is not looked at.
    /// @param amount In 1e-6 USDTz.
    /// @return charged In 1e-6 USDT.
    function quoteIssue(uint256 amount) external view returns (uint256 charged) {
        return amount + _fee(amount);
    }

    /// @notice Whether redeeming is frozen.
    function redeemFrozen() external view returns (bool) {
        return frozen[Direction.Redeem];
    }

    /// @notice Whether issuing is frozen.
    function issueFrozen() external view returns (bool) {
        return frozen[Direction.Issue];
    }

    /// @notice What can still be redeemed before midnight UTC, in 1e-6 USDTz.
    function remainingToday() public view returns (uint256) {
        return Math.saturatingSub(dailyCap, redeemedOn[_today()]);
    }

    /// @notice The USDT held to pay redemptions, in 1e-6 USDT.
    function reserve() public view returns (uint256) {
        return usdt.balanceOf(address(this));
    }

    function _check(Direction direction, uint256 amount, address recipient) private view {
        if (frozen[direction]) revert Frozen(direction);
        if (amount == 0) revert ZeroAmount();
        if (recipient == address(0)) revert ZeroRecipient();
    }

    function _setOperator(address operator_) private {
        operator = operator_;
        emit OperatorChanged(operator_);
    }

    function _setFee(uint256 feeBps_) private {
        if (feeBps_ > MAX_FEE_BPS) revert FeeTooHigh(feeBps_, MAX_FEE_BPS);
        feeBps = feeBps_;
        emit FeeChanged(feeBps_);
    }

    function _setDailyCap(uint256 dailyCap_) private {
        dailyCap = dailyCap_;
        emit DailyCapChanged(dailyCap_);
    }

    function _fee(uint256 amount) private view returns (uint256) {
        return Math.mulDiv(amount, feeBps, BPS, Math.Rounding.Ceil);
    }

    function _today() private view returns (uint256) {
        return block.timestamp / 1 days;
    }
}
