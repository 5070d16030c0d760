(ns quorate.checkers.outages
  "Invariant 11: one outage causes one switch: no flap faster than the cooldown, none beyond the budget."
  (:require [quorate.history :as h]
            [quorate.checkers.bound :as bound]))

(defn- automatic? [switch] (#{:failover :failback} (:cause switch)))

(defn- too-soon
  "The cooldown begins when the switch before was observed; one that was superseded began none."
  [history service {:keys [cooldown-ms]}]
  (for [[before after] (partition 2 1 (vals (h/switches history service)))
        :let [began (or (:observed-ms before) (:authorised-ms before))
              since (- (:authorised-ms after) began)]
        :when (and (automatic? after) (= (:epoch after) (inc (:epoch before))) (not= :adopt (:cause before)) (< since cooldown-ms))]
    (str service ": epoch " (:epoch after) " came " since " ms after epoch " (:epoch before) ", the cooldown is " cooldown-ms " ms")))

(defn- beyond-budget [history service {:keys [budget budget-window-ms]}]
  (let [times (map :authorised-ms (filter automatic? (vals (h/switches history service))))]
    (for [window (partition (inc budget) 1 times)
          :when (< (- (last window) (first window)) budget-window-ms)]
      (str service ": " (inc budget) " automatic switches within " (- (last window) (first window)) " ms, the budget is "
           budget " in " budget-window-ms " ms"))))

(defn- more-than-one [history service]
  (let [times (h/first-taken history service)]
    (for [{:keys [region from to]} (filter #(= service (:service %)) (bound/outages history))
          :let [caused (for [switch (vals (h/switches history service))
                             :let [at (get times (:epoch switch))]
                             :when (and at (= :failover (:cause switch)) (= region (:from switch)) (<= from at to))]
                         (:epoch switch))]
          :when (> (count caused) 1)]
      (str service ": one outage of " region " caused the epochs " (vec caused)))))

(defn check [history]
  (h/verdict 11 (mapcat (fn [[service policy]]
                          (concat (too-soon history service policy)
                                  (beyond-budget history service policy)
                                  (more-than-one history service)))
                        (h/services history))))
