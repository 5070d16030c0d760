(ns jepsen.quorate.truths
  "What the nemeses did, for the checkers, which believe it."
  (:require [jepsen.quorate.fleet :as fleet]
            [jepsen.quorate.world :as world]))

(defn truth! [test f value] (world/truth! @(:world test) f value))

(defn fault! "A window of a fault begins or ends." [test kind phase]
  (truth! test :fault {:id kind :kind kind :phase phase}))

(defn state! "Nodes are :dead, :paused or :isolated, or no longer." [test nodes state on]
  (doseq [node nodes :let [number (fleet/number test node)] :when number]
    (truth! test :node {:node number :state state :on on})))
